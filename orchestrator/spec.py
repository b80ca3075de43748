"""From rows to HostSpec: the only place where what tenants want becomes what a host must be."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import select as columns
from sqlmodel import Session, col, select

from orchestrator import clusterspec, secrets, transit
from orchestrator.errors import ConfigurationError
from orchestrator.hostspec import (
    AddressSpec,
    DkimKeySpec,
    HostSpec,
    MailboxSpec,
    MailStore,
    OsName,
    ProbeSpec,
    RemoteMailboxSpec,
    TlsSpec,
)
from orchestrator.models import (
    Address,
    AddressState,
    Alias,
    Certificate,
    Cluster,
    DkimKey,
    DkimState,
    Domain,
    Host,
    Mailbox,
    Move,
    MovePhase,
    Relocation,
    RelocationState,
)
from orchestrator.secrets import Vault

#: Made once: every pass asks, and making it costs more than asking.
_PENDING_PURGES = columns(
    col(Mailbox.id), col(Mailbox.email), col(Mailbox.directory), col(Mailbox.address_id)
).where(col(Mailbox.purge_since).is_not(None))


def mail_hosts(session: Session, workspace_id: UUID | None) -> list[Host]:
    """The hosts that accept mail for a workspace's domains, by name.

    They are all that carry one of its addresses: each knows every mailbox of the workspace and
    hands on what lives elsewhere, so that any of them can be the MX. One that its mail has
    left, or that is draining, is not named where there is another.
    """
    gone = transit.sources(session, MovePhase.OVERLAPPING)
    carrying = select(Address.host_id).where(
        Address.workspace_id == workspace_id,
        Address.state == AddressState.ASSIGNED,
        col(Address.id).not_in(gone),
    )
    rows = session.exec(select(Host).where(col(Host.id).in_(carrying)).order_by(Host.name)).all()
    return [host for host in rows if not host.draining] or list(rows)


@dataclass(frozen=True)
class Carried:
    """What a host has of its own: its addresses by IP, its certificate, the cluster it is of."""

    hostname: str
    addresses: Sequence[Address]
    certificate: Certificate | None
    cluster: Cluster | None = None

    @property
    def certificate_names(self) -> list[str]:
        """What clients may call it: its names, its addresses' names, and the IPs themselves."""
        own = [self.hostname, *([self.cluster.hostname] if self.cluster else [])]
        ips = [address.ip for address in self.addresses]
        return [*own, *(address.ptr_name for address in self.addresses), *ips]


def carried(session: Session, host: Host) -> Carried:
    """Look up what the host has of its own."""
    addresses = select(Address).where(Address.host_id == host.id).order_by(Address.ip)
    found = session.exec(addresses).all()
    cluster = session.get_one(Cluster, host.cluster_id) if host.cluster_id else None
    return Carried(host.hostname, found, certificate_of(session, host.id), cluster)


def certificate_of(session: Session, host_id: UUID) -> Certificate | None:
    """The certificate that a host serves with; None before its first pass."""
    newest = (
        select(Certificate)
        .where(Certificate.host_id == host_id)
        .order_by(col(Certificate.created_at).desc())
    )
    return session.exec(newest).first()


def probe_sender(address: AddressSpec, hostname: str) -> str:
    """The sender whose mail the host sends from exactly this address."""
    return f"probe-{address.transport}@{hostname}"


def build(
    session: Session, vault: Vault, host: Host, own: Carried, *, message_size_limit: int
) -> HostSpec:
    """Gather everything that a host must be, beside what it carries.

    Only domains whose ownership is proven come in: nothing is signed or accepted for others.

    :raises ConfigurationError: when the host has no certificate, or its Debian is not known
        yet, or the master key does not open its secrets.
    """
    domains = _domains(session, host, own.addresses)
    sending = clusterspec.domains(session, own.cluster)
    cluster = clusterspec.build(session, host, own.cluster, sending, own.addresses)
    specs = tuple(AddressSpec(a.ip, a.ptr_name) for a in own.addresses)
    local, remote = _mailboxes(session, host, domains)
    return HostSpec(
        hostname=host.hostname,
        os=_os(host),
        address=host.address,
        addresses=specs,
        domains=tuple(domain.name for domain in domains if domain.host_id is None),
        dkim_keys=_dkim_keys(session, vault, domains + sending),
        mailboxes=local,
        remote_mailboxes=remote,
        probes=tuple(ProbeSpec(probe_sender(s, host.hostname), s.ip) for s in specs),
        tls=_tls(vault, host, own.certificate),
        message_size_limit=message_size_limit,
        purges=_purges(
            session, own.addresses, {m.store for m in local} | {m.store for m in remote}
        ),
        cluster=cluster,
    )


def _os(host: Host) -> OsName:
    match host.os:
        case "debian12":
            return "debian12"
        case "debian13":
            return "debian13"
        case _:
            raise ConfigurationError(f"{host.name} has not been looked at yet")


def _domains(session: Session, host: Host, addresses: Sequence[Address]) -> list[Domain]:
    tenants = {a.workspace_id for a in addresses if a.state == AddressState.ASSIGNED}
    rows = select(Domain).where(
        col(Domain.workspace_id).in_(tenants) | (col(Domain.host_id) == host.id),
        col(Domain.cluster_id).is_(None),
        col(Domain.verified_at).is_not(None),
        col(Domain.deleted_at).is_(None),
    )
    return list(session.exec(rows.order_by(Domain.name)))


def _dkim_keys(session: Session, vault: Vault, domains: list[Domain]) -> tuple[DkimKeySpec, ...]:
    held = {domain.id: domain for domain in domains}
    rows = select(DkimKey).where(
        col(DkimKey.domain_id).in_(held), DkimKey.state != DkimState.PENDING
    )
    found = session.exec(rows).all()
    # A name that the workspace has beside its cluster's is signed with the former's key.
    own = {
        held[row.domain_id].name
        for row in found
        if row.state is DkimState.ACTIVE and held[row.domain_id].cluster_id is None
    }
    keys = [
        DkimKeySpec(
            domain.name,
            row.selector,
            vault.decrypt(row.private_key),
            signs=row.state is DkimState.ACTIVE
            and (domain.cluster_id is None or domain.name not in own),
        )
        for row in found
        if (domain := held[row.domain_id])
    ]
    return tuple(sorted(keys, key=lambda key: (key.domain, key.selector)))


def _mailboxes(
    session: Session, host: Host, domains: list[Domain]
) -> tuple[tuple[MailboxSpec, ...], tuple[RemoteMailboxSpec, ...]]:
    # Columns, not entities: of 10,000 mailboxes, making those takes four times as long.
    rows = (
        columns(
            col(Mailbox.id),
            col(Mailbox.email),
            col(Mailbox.directory),
            col(Mailbox.password_hash),
            col(Mailbox.quota_mib),
            col(Mailbox.suspended_at).is_not(None),
            col(Address.ip),
            col(Host.hostname),
        )
        .join(Address, col(Address.id) == col(Mailbox.address_id))
        .join(Host, col(Host.id) == col(Address.host_id))
        .where(
            col(Mailbox.domain_id).in_([domain.id for domain in domains]),
            col(Mailbox.deleted_at).is_(None),
        )
        .order_by(col(Mailbox.email))
    )
    local: list[MailboxSpec] = []
    remote: list[RemoteMailboxSpec] = []
    passages = transit.passages(session)
    aliases = _aliases(session, domains)
    found = session.connection().execute(rows)
    for mailbox_id, email, directory, password_hash, quota_mib, suspended, ip, hostname in found:
        known = aliases.get(mailbox_id, ())
        passage = passages.get(mailbox_id)
        held = passage is not None and passage.state is RelocationState.HELD
        here = passage.ip_on(host.id) if passage else None
        if hostname == host.hostname or (held and here):
            login = secrets.LOCKED if suspended else password_hash
            local.append(MailboxSpec(email, login, here or ip, quota_mib, held, known, directory))
        else:
            remote.append(RemoteMailboxSpec(email, hostname, here, known, directory))
    return tuple(local), tuple(remote)


def _aliases(session: Session, domains: list[Domain]) -> dict[UUID, tuple[str, ...]]:
    """Aliases of these domains by their mailboxes' ids."""
    rows = (
        columns(col(Alias.mailbox_id), col(Alias.email))
        .where(col(Alias.domain_id).in_([domain.id for domain in domains]))
        .order_by(col(Alias.email))
    )
    found: dict[UUID, tuple[str, ...]] = {}
    for mailbox_id, email in session.connection().execute(rows):
        found[mailbox_id] = (*found.get(mailbox_id, ()), email)
    return found


def _purges(
    session: Session, addresses: Sequence[Address], living: set[MailStore]
) -> tuple[MailStore, ...]:
    """Mail of deleted mailboxes that a host with these addresses must not keep.

    What lives there again stays.
    """
    pending = session.connection().execute(_PENDING_PURGES).all()
    if not pending:
        return ()
    here = {address.id for address in addresses}
    ends = col(Move.source_id).in_(here) | col(Move.target_id).in_(here)
    moved = select(Relocation.mailbox_id).join(Move, col(Move.id) == col(Relocation.move_id))
    copied = set(session.exec(moved.where(ends)))
    found = {
        MailStore(email, directory)
        for mailbox_id, email, directory, address_id in pending
        if address_id in here or mailbox_id in copied
    }
    return tuple(sorted(found - living))


def _tls(vault: Vault, host: Host, row: Certificate | None) -> TlsSpec:
    if row is None:
        raise ConfigurationError(f"{host.name} has no certificate yet")
    return TlsSpec(row.chain, vault.decrypt(row.private_key))
