"""Domains of workspaces, and the records that must stand in DNS for them."""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import delete as delete_rows
from sqlmodel import Session, col, select

from orchestrator import dkim, wakeup
from orchestrator.dns.records import (
    ExpectedRecord,
    Purpose,
    cluster_records,
    domain_records,
    spf_addresses,
)
from orchestrator.errors import Conflict, Invalid, NotFound
from orchestrator.models import (
    Address,
    AddressState,
    Alias,
    DkimKey,
    DkimState,
    Domain,
    DomainMode,
    Host,
    Mailbox,
    Order,
    OrderKind,
    Workspace,
    utcnow,
)
from orchestrator.secrets import Vault
from orchestrator.services import (
    billing,
    dkim_rotation,
    mailboxes,
    registrations,
    validation,
)
from orchestrator.services.rows import lock, lock_name, unique
from orchestrator.services.wake import wake_workspace
from orchestrator.settings import Settings
from orchestrator.spec import mail_hosts


def add(
    session: Session,
    vault: Vault,
    settings: Settings,
    workspace: Workspace,
    *,
    name: str,
    mode: DomainMode = DomainMode.BYO,
    pair: tuple[str, str] | None = None,
) -> Order:
    """Add a domain, with a signing key. Nothing is signed or accepted before it is proven.

    One of mode ``buy`` is bought from now on; see first that it can be (``registrations.offer``).

    :param pair: of ``dkim.generate``, where the transaction has begun already.
    :raises Invalid: when the name can't be a tenant's.
    :raises Conflict: when the workspace has no dedicated IP, or somebody has the domain already.
    """
    name = validation.fqdn(name)
    refuse_own(settings, name)
    # Before the first query: on SQLite that starts the transaction, and this takes 0.1 s.
    pair = pair or dkim.generate()
    lock_name(session, name)
    lock(session, Workspace, [workspace.id])
    _require_address(session, workspace)
    _require_unclaimed(session, workspace, name)
    domain = Domain(name=name, workspace_id=workspace.id, mode=mode)
    with unique(session, f"{name} is on this workspace already"):
        session.add(domain)
    dkim_rotation.add(session, vault, domain, pair)
    if mode is DomainMode.BUY:
        registrations.request(session, settings, workspace, name)
    order = Order(workspace_id=workspace.id, kind=OrderKind.DOMAIN, detail={"domain": name})
    session.add(order)
    session.flush()
    billing.changed(session, workspace.id)
    wakeup.request(session)
    return order


def refuse_own(settings: Settings, name: str) -> None:
    """See that a name is not the fleet's.

    :raises Invalid: when it is.
    """
    for own in (settings.fleet_domain, settings.probe_domain):
        if name == own or name.endswith(f".{own}"):
            raise Invalid(f"{name} is the fleet's own", field="name")


def _require_address(session: Session, workspace: Workspace) -> None:
    address = select(Address.id).where(
        Address.workspace_id == workspace.id, Address.state == AddressState.ASSIGNED
    )
    if session.exec(address).first() is None:
        raise Conflict("the workspace has no dedicated IP yet")


def _require_unclaimed(session: Session, workspace: Workspace, name: str) -> None:
    if any(domain.name == name for domain in list_(session, workspace)):
        raise Conflict(f"{name} is on this workspace already")
    if proven_elsewhere(session, name, workspace.id):
        raise Conflict(f"{name} has been proven by another workspace")


def proven_elsewhere(session: Session, name: str, workspace_id: UUID | None) -> bool:
    """Whether the name is another workspace's, or a host's."""
    rows = select(Domain).where(
        Domain.name == name, col(Domain.deleted_at).is_(None), col(Domain.verified_at).is_not(None)
    )
    return any(row.workspace_id != workspace_id for row in session.exec(rows))


def list_(session: Session, workspace: Workspace) -> list[Domain]:
    """The workspace's domains, oldest first; not those of its clusters."""
    rows = select(Domain).where(
        Domain.workspace_id == workspace.id,
        col(Domain.cluster_id).is_(None),
        col(Domain.deleted_at).is_(None),
    )
    return list(session.exec(rows.order_by(col(Domain.id))))


def get(session: Session, workspace: Workspace, domain_id: UUID) -> Domain:
    """One of the workspace's domains."""
    row = session.get(Domain, domain_id)
    if row is None or row.deleted_at is not None:
        raise NotFound("there is no such domain on this workspace")
    if row.workspace_id != workspace.id or row.cluster_id is not None:
        raise NotFound("there is no such domain on this workspace")
    return row


def get_by_name(session: Session, workspace: Workspace, name: str) -> Domain:
    """The workspace's domain of that name."""
    name = validation.fqdn(name)
    row = next((d for d in list_(session, workspace) if d.name == name), None)
    if row is None:
        raise NotFound(f"there is no domain {name} on this workspace")
    return row


def of_host(session: Session, hostname: str) -> Domain:
    """The domain that is the name of a host."""
    name = validation.fqdn(hostname)
    rows = select(Domain).where(Domain.name == name, col(Domain.host_id).is_not(None))
    row = session.exec(rows).first()
    if row is None:
        raise NotFound(f"there is no host with the name {name}; is it a workspace's domain?")
    return row


def all_living(session: Session) -> list[Domain]:
    """The domains of all workspaces, and the hosts' names, by name."""
    rows = select(Domain).where(col(Domain.deleted_at).is_(None))
    return list(session.exec(rows.order_by(Domain.name)))


def selectors(session: Session, domains: Sequence[Domain]) -> dict[UUID, str]:
    """The selector that each domain signs with, or will at first, by the domain's id."""
    keys = select(DkimKey.domain_id, DkimKey.selector).where(
        col(DkimKey.domain_id).in_([domain.id for domain in domains]),
        DkimKey.state != DkimState.RETIRED,
    )
    # The last one counts: "active" stands before "pending".
    return dict(session.exec(keys.order_by(col(DkimKey.state).desc())).all())


def delete(session: Session, workspace: Workspace, domain_id: UUID, *, purge: bool = False) -> int:
    """Delete a domain, its mailboxes, and the aliases of that domain.

    :param purge: remove the mailboxes' mail from the hosts' disks, too.
    :returns: how many mailboxes went with it.
    """
    lock(session, Workspace, [workspace.id])
    domain = get(session, workspace, domain_id)
    living = select(Mailbox).where(
        Mailbox.domain_id == domain.id, col(Mailbox.deleted_at).is_(None)
    )
    rows = session.exec(living).all()
    mailboxes.retire(session, domain, rows, purge=purge)
    session.connection().execute(delete_rows(Alias).where(col(Alias.domain_id) == domain.id))
    domain.deleted_at = utcnow()
    session.add(domain)
    registrations.look_again(session, workspace, domain.name)
    session.flush()
    billing.changed(session, workspace.id)
    wake_workspace(session, workspace.id)
    return len(rows)


def expected_records(session: Session, settings: Settings, domain: Domain) -> list[ExpectedRecord]:
    """The records that must stand in DNS for a workspace's domain, or for a host's name."""
    if domain.host_id is not None:
        return _host_name_records(session, session.get_one(Host, domain.host_id), domain)
    if domain.cluster_id is not None:
        return cluster_records(domain=domain.name, dkim=_public_keys(session, domain))
    assert domain.workspace_id is not None
    workspace = session.get_one(Workspace, domain.workspace_id)
    addresses = select(Address.ip).where(
        Address.workspace_id == workspace.id, Address.state == AddressState.ASSIGNED
    )
    return domain_records(
        domain=domain.name,
        ownership_token=workspace.verification_token,
        mx_hosts=[host.hostname for host in mail_hosts(session, workspace.id)],
        egress_ips=list(session.exec(addresses)),
        dkim=_public_keys(session, domain),
        dmarc_rua=None,
    )


def _host_name_records(session: Session, host: Host, domain: Domain) -> list[ExpectedRecord]:
    # Probes leave from every address of the host under its name, bounces from its own.
    addresses = session.exec(select(Address.ip).where(Address.host_id == host.id))
    records = domain_records(
        domain=domain.name,
        ownership_token="",
        mx_hosts=[],
        egress_ips=[host.address, *addresses],
        dkim=_public_keys(session, domain),
        dmarc_rua=None,
    )
    # The operator vouches for the host's name: there is nothing to prove.
    return [record for record in records if record.purpose is not Purpose.OWNERSHIP]


def _public_keys(session: Session, domain: Domain) -> list[tuple[str, str]]:
    return [(key.selector, key.public_key) for key in dkim_rotation.keys(session, domain.id)]


def spf_ips(records: Sequence[ExpectedRecord]) -> list[str]:
    """The addresses that the SPF record among ``records`` lets send."""
    values = [record.value for record in records if record.purpose is Purpose.SPF]
    return [ip for value in values for ip in spf_addresses(value)]
