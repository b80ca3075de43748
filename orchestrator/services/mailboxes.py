"""Mailboxes: logins on the host of one dedicated IP, from which their mail leaves."""

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import bindparam, func
from sqlalchemy import delete as delete_rows
from sqlmodel import Session, col, select

from orchestrator import transit
from orchestrator.errors import Conflict, Invalid, NotFound
from orchestrator.mail.types import MailboxAccess
from orchestrator.models import (
    Address,
    AddressState,
    Alias,
    Domain,
    Host,
    Mailbox,
    Order,
    OrderKind,
    Workspace,
    utcnow,
)
from orchestrator.secrets import Vault, hash_password, new_password
from orchestrator.services import billing, scheduled, validation
from orchestrator.services.rows import lock, unique
from orchestrator.services.wake import wake, wake_workspace
from orchestrator.settings import CertificateSource, Settings

#: How many mailboxes one request may create.
MAX_CREATE = 100


class Placed(NamedTuple):
    """A mailbox with its domain, and where it lives."""

    mailbox: Mailbox
    domain: Domain
    address: Address
    host: Host


# The workspace's mailboxes in one query: every request for mail begins with it, and putting it
# together would take as long as carrying it out.
_LIVING = (
    select(Mailbox, Domain, Address, Host)
    .join(Domain, col(Domain.id) == col(Mailbox.domain_id))
    .join(Address, col(Address.id) == col(Mailbox.address_id))
    .join(Host, col(Host.id) == col(Address.host_id))
    .where(Mailbox.workspace_id == bindparam("workspace"), col(Mailbox.deleted_at).is_(None))
)
_ONE_LIVING = _LIVING.where(Mailbox.id == bindparam("mailbox"))


def create(
    session: Session,
    vault: Vault,
    settings: Settings,
    workspace: Workspace,
    emails: Sequence[str],
) -> Order:
    """Create mailboxes, all or none, each on the workspace's least used IPv4 address.

    :raises Invalid: when an address is malformed or stands there twice.
    :raises Conflict: when a domain is not on the workspace, or a mailbox exists already.
    """
    if not 1 <= len(emails) <= MAX_CREATE:
        raise Invalid(f"emails does not hold 1 to {MAX_CREATE} addresses", field="emails")
    wanted = [validation.email(text) for text in emails]
    if len(set(wanted)) != len(wanted):
        raise Invalid("emails holds the same address twice", field="emails")
    # Before the first query: on SQLite that starts the transaction, and hashing takes time.
    credentials = [_credentials(vault) for _ in wanted]
    lock(session, Workspace, [workspace.id])
    domains = domains_of(session, workspace, wanted)
    require_new(session, workspace, wanted)
    _require_purged(session, workspace, wanted)
    load = _load(session, workspace)
    for email, (password, password_hash) in zip(wanted, credentials, strict=True):
        address_id = min(load, key=lambda id_: (load[id_], id_))
        load[address_id] += 1
        session.add(
            Mailbox(
                workspace_id=workspace.id,
                domain_id=domains[email.rpartition("@")[2]].id,
                address_id=address_id,
                email=email,
                password=password,
                password_hash=password_hash,
                quota_mib=settings.mailbox_quota_mib,
                directory=workspace.id.hex,
            )
        )
    order = Order(workspace_id=workspace.id, kind=OrderKind.MAILBOXES, detail={"emails": wanted})
    with unique(session, "a mailbox of that address exists already"):
        session.add(order)
    billing.changed(session, workspace.id)
    wake_workspace(session, workspace.id)
    return order


def _credentials(vault: Vault) -> tuple[str, str]:
    password = new_password()
    return vault.encrypt(password), hash_password(password)


def domains_of(session: Session, workspace: Workspace, emails: list[str]) -> dict[str, Domain]:
    """The workspace's domains that the addresses are of, by name.

    :raises Conflict: when one is not on the workspace.
    """
    names = {email.rpartition("@")[2] for email in emails}
    rows = select(Domain).where(
        Domain.workspace_id == workspace.id,
        col(Domain.cluster_id).is_(None),
        col(Domain.name).in_(names),
        col(Domain.deleted_at).is_(None),
    )
    domains = {domain.name: domain for domain in session.exec(rows)}
    missing = sorted(names - domains.keys())
    if missing:
        raise Conflict(f"the domain {missing[0]} is not on this workspace: add it first")
    return domains


def require_new(session: Session, workspace: Workspace, emails: list[str]) -> None:
    """See that no mailbox and no alias of the workspace has one of the addresses.

    :raises Conflict: when one has.
    """
    rows = select(Mailbox.email).where(
        Mailbox.workspace_id == workspace.id,
        col(Mailbox.email).in_(emails),
        col(Mailbox.deleted_at).is_(None),
    )
    existing = session.exec(rows.order_by(Mailbox.email)).first()
    if existing is not None:
        raise Conflict(f"the mailbox {existing} exists already")
    aliases = select(Alias.email).where(
        Alias.workspace_id == workspace.id, col(Alias.email).in_(emails)
    )
    taken = session.exec(aliases.order_by(Alias.email)).first()
    if taken is not None:
        raise Conflict(f"the alias {taken} exists already")


def _require_purged(session: Session, workspace: Workspace, emails: list[str]) -> None:
    rows = select(Mailbox.email).where(
        Mailbox.workspace_id == workspace.id,
        col(Mailbox.purge_since).is_not(None),
        col(Mailbox.email).in_(emails),
    )
    waiting = session.exec(rows.order_by(Mailbox.email)).first()
    if waiting is not None:
        raise Conflict(
            f"the mail of a deleted mailbox {waiting} is still being removed: try again in a minute"
        )


def _load(session: Session, workspace: Workspace) -> Counter[UUID]:
    # IPv4 only: large receivers are still not all reachable over IPv6.
    assigned = (
        select(Address.id, Host.draining)
        .join(Host, col(Host.id) == col(Address.host_id))
        .where(
            Address.workspace_id == workspace.id,
            Address.state == AddressState.ASSIGNED,
            Address.version == 4,
            col(Address.id).not_in(transit.sources(session)),
        )
    )
    rows = session.exec(assigned).all()
    mine = [id_ for id_, draining in rows if not draining] or [id_ for id_, _ in rows]
    used = (
        select(Mailbox.address_id, func.count())
        .where(Mailbox.workspace_id == workspace.id, col(Mailbox.deleted_at).is_(None))
        .group_by(col(Mailbox.address_id))
    )
    counts = dict(session.exec(used).all())
    load = Counter({id_: counts.get(id_, 0) for id_ in mine})
    if not load:
        raise Conflict("the workspace has no dedicated IPv4 address")
    return load


def list_(session: Session, workspace: Workspace) -> list[Placed]:
    """The workspace's mailboxes, oldest first."""
    rows = session.exec(_LIVING.order_by(col(Mailbox.id)), params={"workspace": workspace.id})
    return [Placed(*row) for row in rows]


def get(session: Session, workspace: Workspace, mailbox_id: UUID) -> Placed:
    """One of the workspace's mailboxes."""
    wanted = {"workspace": workspace.id, "mailbox": mailbox_id}
    row = session.exec(_ONE_LIVING, params=wanted).first()
    if row is None:
        raise NotFound("there is no such mailbox on this workspace")
    return Placed(*row)


def get_by_email(session: Session, workspace: Workspace, email: str) -> Placed:
    """The workspace's mailbox of that address."""
    found = next((p for p in list_(session, workspace) if p.mailbox.email == email.lower()), None)
    if found is None:
        raise NotFound(f"{workspace.slug} has no mailbox {email}")
    return found


def delete(
    session: Session, workspace: Workspace, mailbox_id: UUID, *, purge: bool = False
) -> Mailbox:
    """Delete a mailbox; hosts forget it with their next pass.

    :param purge: remove its mail from their disks, too; else its workspace has it again
        when it makes the mailbox anew.
    """
    lock(session, Workspace, [workspace.id])
    placed = get(session, workspace, mailbox_id)
    retire(session, placed.domain, [placed.mailbox], purge=purge)
    billing.changed(session, workspace.id)
    wake_workspace(session, workspace.id)
    return placed.mailbox


def retire(session: Session, domain: Domain, rows: Sequence[Mailbox], *, purge: bool) -> None:
    """Let mailboxes of a domain be gone, with their aliases and what they were to send later.

    Of a domain that its workspace has not proven there is no mail, but another workspace may
    have some: nothing is purged then.
    """
    now = utcnow()
    for mailbox in rows:
        mailbox.deleted_at = now
        mailbox.purge_since = now if purge and domain.verified_at else None
        session.add(mailbox)
    ids = [mailbox.id for mailbox in rows]
    session.connection().execute(delete_rows(Alias).where(col(Alias.mailbox_id).in_(ids)))
    scheduled.cancel_all(session, ids)
    session.flush()


def set_address(session: Session, mailbox: Mailbox, address: Address) -> Mailbox:
    """Let the mailbox's mail leave from another address of its workspace on the same host.

    :raises Conflict: when the address is another's, or on another host than its stored mail.
    """
    if address.workspace_id != mailbox.workspace_id or address.state is not AddressState.ASSIGNED:
        raise Conflict(f"{address.ip} is not assigned to the mailbox's workspace")
    if session.get_one(Address, mailbox.address_id).host_id != address.host_id:
        raise Conflict(f"{address.ip} is on another host than the mail of {mailbox.email}")
    mailbox.address_id = address.id
    session.add(mailbox)
    session.flush()
    wake(session, [address.host_id])
    return mailbox


def access(vault: Vault, settings: Settings, placed: Placed) -> MailboxAccess:
    """How to log in to the mailbox: through its dedicated IP, under its host's name.

    :raises Conflict: when it is suspended.
    """
    if placed.mailbox.suspended_at is not None:
        raise Conflict(f"the mailbox {placed.mailbox.email} is suspended")
    return MailboxAccess(
        email=placed.mailbox.email,
        password=vault.decrypt(placed.mailbox.password),
        host=placed.host.hostname,
        address=placed.address.ip,
        ca_file=settings.ca_file,
        public_authorities=settings.certificate_source is not CertificateSource.AUTHORITY,
    )
