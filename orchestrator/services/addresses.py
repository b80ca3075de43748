"""Dedicated IPs: the pool, and which workspace has which."""

from collections import Counter
from collections.abc import Sequence
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import func
from sqlmodel import Session, col, select, update

from orchestrator import transit
from orchestrator.errors import Conflict, Invalid, NotFound, Unavailable
from orchestrator.models import (
    Address,
    AddressEventKind,
    AddressState,
    Domain,
    Host,
    Mailbox,
    Order,
    OrderKind,
    Workspace,
    utcnow,
)
from orchestrator.services import billing, history, mailboxes, reputation, validation
from orchestrator.services.rows import lock, unique
from orchestrator.services.wake import wake, wake_dns, wake_workspace

#: How many addresses one order may ask for.
MAX_ORDER = 10


def add(session: Session, *, host: Host, ip: str, ptr_name: str) -> Address:
    """Bring in an address that the host carries; it is free once ``reputation`` found it fit.

    :raises Conflict: when the IP or the PTR name is in use.
    """
    ip = validation.ip(ip)
    row = Address(
        ip=ip,
        version=6 if ":" in ip else 4,
        ptr_name=validation.fqdn(ptr_name, field="ptr_name"),
        host_id=host.id,
    )
    if row.ip == host.address:
        raise Conflict(f"{row.ip} is the host's own address: bounces leave from it")
    with unique(session, f"{row.ip} or {row.ptr_name} is in the pool already"):
        session.add(row)
    history.note(session, row, AddressEventKind.ADDED, row.ptr_name)
    host.dns_due_at = utcnow()
    session.add(host)
    wake(session, [host.id])
    return row


def list_(session: Session, workspace: Workspace | None = None) -> list[Address]:
    """The workspace's assigned addresses, oldest first; without a workspace the whole pool."""
    rows = select(Address)
    if workspace is not None:
        rows = rows.where(
            Address.workspace_id == workspace.id, Address.state == AddressState.ASSIGNED
        )
    return list(session.exec(rows.order_by(col(Address.allocated_at), col(Address.id))))


def assign(
    session: Session,
    workspace: Workspace,
    *,
    count: int = 1,
    version: int = 4,
    host: Host | None = None,
    not_host: UUID | None = None,
) -> list[Address]:
    """Give the workspace free addresses, of ``host`` or from the least used hosts: all or none.

    :param not_host: the id of a host whose addresses won't do.
    :raises Unavailable: when the pool has fewer; the caller's transaction must then be undone.
    """
    lock(session, Workspace, [workspace.id])
    taken: list[Address] = []
    load = _assigned_per_host(session)
    candidates = [a for a in _free(session, version, host) if a.host_id != not_host]
    while len(taken) < count and candidates:
        candidate = min(candidates, key=lambda a: (load[a.host_id], a.id))
        candidates.remove(candidate)
        if _take(session, candidate, workspace):
            taken.append(candidate)
            load[candidate.host_id] += 1
    if len(taken) < count:
        raise Unavailable("no free dedicated IPs are available")
    billing.changed(session, workspace.id)
    wake_dns(session, workspace.id)
    wake_workspace(session, workspace.id)
    return taken


def take(session: Session, workspace: Workspace, address: Address) -> None:
    """Give the workspace this free address.

    :raises Unavailable: when somebody else got it first.
    """
    if not _take(session, address, workspace):
        raise Unavailable(f"{address.ip} is no longer free")


def least_used(session: Session, among: Sequence[Host], version: int) -> Host:
    """The host with the fewest assigned addresses, of those that have a free one.

    :raises Unavailable: when none of them has.
    """
    load = _assigned_per_host(session)
    able = {address.host_id for address in _free(session, version, None)}
    fit = [host for host in among if host.id in able]
    if not fit:
        names = ", ".join(host.name for host in among)
        raise Unavailable(f"no free IPv{version} address is available on {names}")
    return min(fit, key=lambda host: (load[host.id], host.name))


def _assigned_per_host(session: Session) -> Counter[UUID]:
    assigned = (
        select(Address.host_id, func.count())
        .where(Address.state == AddressState.ASSIGNED)
        .group_by(col(Address.host_id))
    )
    return Counter(dict(session.exec(assigned).all()))


def _free(session: Session, version: int, host: Host | None) -> list[Address]:
    free = (
        select(Address)
        .join(Host, col(Host.id) == col(Address.host_id))
        .where(
            Address.state == AddressState.FREE,
            Address.version == version,
            # A paused host would not come to send from it.
            col(Host.paused).is_(False),
            col(Host.draining).is_(False),
        )
    )
    return list(session.exec(free if host is None else free.where(Address.host_id == host.id)))


def _take(session: Session, address: Address, workspace: Workspace) -> bool:
    # Of two requests that saw the same free address one changes the row; the other goes on to
    # the next without waiting, for each may hold what the other tries.
    free = select(Address.id).where(Address.id == address.id, Address.state == AddressState.FREE)
    taken = (
        update(Address)
        .where(col(Address.id).in_(free.with_for_update(skip_locked=True)))
        .values(
            state=AddressState.ASSIGNED,
            workspace_id=workspace.id,
            allocated_at=utcnow(),
            released_at=None,
        )
    )
    changed = session.exec(taken).rowcount == 1
    session.refresh(address)
    if changed:
        history.note(session, address, AddressEventKind.ASSIGNED)
    return changed


def order(session: Session, workspace: Workspace, count: int) -> Order:
    """Order additional addresses.

    :raises Conflict: when the workspace has no domain yet.
    :raises Unavailable: when the pool has fewer than asked for.
    """
    if not 1 <= count <= MAX_ORDER:
        raise Invalid(f"count is not between 1 and {MAX_ORDER}", field="count")
    domain = select(Domain.id).where(
        Domain.workspace_id == workspace.id,
        col(Domain.cluster_id).is_(None),
        col(Domain.deleted_at).is_(None),
    )
    if session.exec(domain).first() is None:
        raise Conflict("the workspace has no domain yet: add one first")
    return provide(session, workspace, count)


def provide(session: Session, workspace: Workspace, count: int) -> Order:
    """The same for a workspace that may be without a domain: its first order.

    :raises Unavailable: when the pool has fewer than asked for.
    """
    taken = assign(session, workspace, count=count)
    row = Order(
        workspace_id=workspace.id,
        kind=OrderKind.ADDRESSES,
        detail={"ips": [address.ip for address in taken]},
    )
    session.add(row)
    session.flush()
    return row


def get(session: Session, workspace: Workspace, address_id: UUID) -> Address:
    """One of the workspace's assigned addresses."""
    row = session.get(Address, address_id)
    if row is None or row.workspace_id != workspace.id or row.state is not AddressState.ASSIGNED:
        raise NotFound("there is no such dedicated IP on this workspace")
    return row


def release(session: Session, workspace: Workspace, address_id: UUID) -> Address:
    """Give an address back; it rests before another workspace may have it.

    Its mailboxes go over to another address of the workspace on the same host, where their
    mail is stored.

    :raises Conflict: when there is none, and mailboxes would be left without an address, or
        when it takes part in a move.
    """
    lock(session, Workspace, [workspace.id])
    address = get(session, workspace, address_id)
    if transit.of_address(session, address.id) is not None:
        raise Conflict(f"{address.ip} is moving to another host: it can't be released now")
    heir = _heir(session, address)
    bound = select(Mailbox).where(
        Mailbox.address_id == address.id, col(Mailbox.deleted_at).is_(None)
    )
    for mailbox in session.exec(bound).all():
        if heir is None:
            raise Conflict(f"releasing {address.ip} would leave active mailboxes without an IP")
        mailboxes.set_address(session, mailbox, heir)
    return rest(session, address)


def rest(session: Session, address: Address) -> Address:
    """Take an address that no mailbox has from its workspace: it cools down."""
    assert address.workspace_id is not None
    billing.changed(session, address.workspace_id)
    wake_dns(session, address.workspace_id)
    wake_workspace(session, address.workspace_id)
    history.note(session, address, AddressEventKind.RELEASED)
    address.state = AddressState.COOLDOWN
    address.workspace_id = None
    address.released_at = utcnow()
    session.add(address)
    session.flush()
    return address


def get_by_ip(session: Session, ip: str) -> Address:
    """The address of the pool."""
    row = session.exec(select(Address).where(Address.ip == validation.ip(ip))).first()
    if row is None:
        raise NotFound(f"{ip} is not in the pool")
    return row


def _heir(session: Session, address: Address) -> Address | None:
    others = select(Address).where(
        Address.workspace_id == address.workspace_id,
        Address.host_id == address.host_id,
        Address.version == address.version,
        Address.state == AddressState.ASSIGNED,
        Address.id != address.id,
        col(Address.id).not_in(transit.sources(session)),
    )
    return session.exec(others.order_by(col(Address.id))).first()


def end_cooldowns(session: Session, now: datetime, cooldown_seconds: float) -> int:
    """Put rested addresses back into the pool, or into quarantine where a blocklist lists them.

    Only once their host has been seen without their former workspace's mail on them.

    :returns: how many.
    """
    rested = (
        select(Address)
        .join(Host, col(Host.id) == col(Address.host_id))
        .where(
            Address.state == AddressState.COOLDOWN,
            col(Address.released_at) <= now - timedelta(seconds=cooldown_seconds),
            col(Host.applied_at) > col(Address.released_at),
        )
        .order_by(col(Address.id))
    )
    rows = session.exec(rested.with_for_update(of=Address)).all()
    for address in rows:
        reputation.after_rest(session, address)
    session.flush()
    return len(rows)
