"""How a move goes on: each function is one step of it, and one transaction of the caller's.

The mover takes the steps. It may be killed between any two of them: what the rows say and what
the hosts are is all that the next one needs.
"""

import secrets
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from uuid import UUID

from sqlmodel import Session, col, select, update

from orchestrator import transit, wakeup
from orchestrator.conditions import Reason, Status, Type
from orchestrator.errors import Conflict
from orchestrator.models import (
    Address,
    AddressEventKind,
    Alias,
    Domain,
    Host,
    Mailbox,
    Move,
    MovePhase,
    Relocation,
    RelocationState,
    utcnow,
)
from orchestrator.services import addresses, conditions, history
from orchestrator.services.wake import wake_dns, wake_workspace
from orchestrator.settings import Settings

#: A mailbox of a move, with its row.
Moving = tuple[Relocation, Mailbox]


def claim(session: Session, move_id: UUID, now: datetime, seconds: float) -> str | None:
    """Take a move that is due, for so many seconds.

    :returns: the claim; None where another mover was faster, or it is not due or over.
    """
    token = secrets.token_hex(8)
    taken = update(Move).where(
        col(Move.id) == move_id, col(Move.due_at) <= now, col(Move.phase).in_(transit.UNDER_WAY)
    )
    done = session.exec(taken.values(due_at=now + timedelta(seconds=seconds), claim=token))
    return token if done.rowcount else None


def owned(session: Session, move_id: UUID, claim: str, phase: MovePhase) -> Move:
    """The move, for changing it.

    :raises Conflict: when another mover has taken it over, or it was cancelled meanwhile.
    """
    move = session.exec(select(Move).where(Move.id == move_id).with_for_update()).one()
    if move.claim != claim or move.phase is not phase:
        raise Conflict("the move is no longer ours")
    return move


def enter(session: Session, move: Move, phase: MovePhase) -> None:
    """Go on to the next phase; the hosts and DNS must become other than they are."""
    move.phase = phase
    move.failures, move.reason, move.message = 0, None, ""
    unsettle(session, move)


def unsettle(session: Session, move: Move) -> None:
    """The hosts must become other than they are: they are waited for, from ``settle`` on."""
    move.settling_since = None
    move.due_at = utcnow()
    session.add(move)
    wakeup.request(session)


def settle(session: Session, move: Move) -> None:
    """Begin to wait for hosts and DNS, once the change is committed.

    A pass that looked before then may have missed it; those that look from now on have it.
    """
    if move.settling_since is None:
        move.settling_since = utcnow()
        session.add(move)
        wake_dns(session, move.workspace_id)
        wake_workspace(session, move.workspace_id)


def hosts(session: Session, move: Move) -> tuple[Host, Host]:
    """The host that mail moves from, and the one it moves to."""
    source = session.get_one(Address, move.source_id)
    target = session.get_one(Address, move.target_id)
    return session.get_one(Host, source.host_id), session.get_one(Host, target.host_id)


def unsettled(session: Session, move: Move) -> str:
    """Which of the two hosts was not seen converged since the last change; empty: none."""
    for host in hosts(session, move):
        if host.paused:
            return f"{host.name} is paused"
        if move.settling_since is None or (host.applied_at or host.created_at) <= (
            move.settling_since
        ):
            return f"waiting for {host.name} to converge"
    return ""


def unseen(session: Session, move: Move) -> str:
    """Whose MX or SPF was not seen as it must be since the last change; empty: nobody's."""
    if move.ignore_dns or move.settling_since is None:
        return ""
    proven = select(Domain).where(
        Domain.workspace_id == move.workspace_id,
        col(Domain.cluster_id).is_(None),
        col(Domain.verified_at).is_not(None),
        col(Domain.deleted_at).is_(None),
    )
    domains = {domain.id: domain.name for domain in session.exec(proven)}
    seen = conditions.get_all(session, list(domains))
    for id_, name in domains.items():
        for type_ in (Type.MX_OK, Type.SPF_OK):
            row = seen.get((id_, type_))
            if row is None or row.status != Status.TRUE or row.observed_at <= move.settling_since:
                return f"waiting for {type_} of {name}"
    return ""


def named(session: Session, settings: Settings, move: Move) -> str:
    """Why somebody may still send to the old host; empty: the old records have run out."""
    waiting = unseen(session, move)
    if waiting:
        return waiting
    now = utcnow()
    move.unnamed_since = move.unnamed_since or now
    session.add(move)
    left = settings.overlap_seconds - (now - move.unnamed_since).total_seconds()
    return f"caches may know the old records for {left:.0f} s more" if left > 0 else ""


def unproven(session: Session, settings: Settings, move: Move) -> str:
    """What was not seen yet of the new address; empty: nothing."""
    target = session.get_one(Address, move.target_id)
    seen = conditions.get_all(session, [target.id])
    # Without a receiver of ours nobody can prove where mail leaves from.
    wanted = [Type.PTR_CONFIRMED, *([Type.EGRESS_PROVEN] if settings.probe_listen else [])]
    for type_ in wanted:
        row = seen.get((target.id, type_))
        if row is None or row.known is not Status.TRUE:
            return f"waiting for {type_} of {target.ip}"
    return ""


def gather(session: Session, move: Move) -> list[Moving]:
    """Every mailbox of the source, and those that went over; new ones are taken in."""
    known = {row.mailbox_id for row, _ in living(session, move)}
    there = select(Mailbox).where(
        Mailbox.address_id == move.source_id, col(Mailbox.deleted_at).is_(None)
    )
    for mailbox in session.exec(there).all():
        if mailbox.id not in known:
            session.add(Relocation(move_id=move.id, mailbox_id=mailbox.id))
    session.flush()
    return living(session, move)


def living(session: Session, move: Move) -> list[Moving]:
    """The mailboxes of the move that have not been deleted, oldest first."""
    rows = (
        select(Relocation, Mailbox)
        .join(Mailbox, col(Mailbox.id) == col(Relocation.mailbox_id))
        .where(Relocation.move_id == move.id, col(Mailbox.deleted_at).is_(None))
        .order_by(col(Mailbox.id))
    )
    return list(session.exec(rows).all())


def senders(session: Session, move: Move) -> list[str]:
    """The addresses that the mailboxes of the move send from: their own and their aliases."""
    owners = {mailbox.id: mailbox.email for _, mailbox in living(session, move)}
    aliases = select(Alias.email).where(col(Alias.mailbox_id).in_(owners))
    return [*owners.values(), *session.exec(aliases)]


def hold(session: Session, move: Move, rows: Sequence[Relocation]) -> None:
    """From the next pass on neither host serves these mailboxes; mail to them waits."""
    for row in rows:
        row.state = RelocationState.HELD
        session.add(row)
    unsettle(session, move)


def let_go(session: Session, move: Move) -> bool:
    """Give held mailboxes back to the old host, where all of their mail is.

    :returns: whether there were any.
    """
    held = [row for row, _ in living(session, move) if row.state is RelocationState.HELD]
    for row in held:
        row.state = RelocationState.WAITING
        session.add(row)
    if held:
        unsettle(session, move)
    return bool(held)


def switch(session: Session, move: Move, listings: Mapping[UUID, tuple[str, int]]) -> None:
    """These mailboxes, held until now, live on the new host from now on.

    :param listings: what the old host holds, digest and messages, by the mailbox's id.
    """
    for row, mailbox in living(session, move):
        if mailbox.id in listings and row.state is RelocationState.HELD:
            row.listing, row.messages = listings[mailbox.id]
            row.state = RelocationState.MOVED
            mailbox.address_id = move.target_id
            session.add_all([row, mailbox])
    unsettle(session, move)


def finish(session: Session, move: Move) -> None:
    """Nothing is left at the old address: it cools down."""
    source = session.get_one(Address, move.source_id)
    target = session.get_one(Address, move.target_id)
    history.note(session, source, AddressEventKind.MOVED, f"its mail is at {target.ip}")
    history.note(session, target, AddressEventKind.MOVED, f"has the mail of {source.ip}")
    addresses.rest(session, source)
    _end(session, move, MovePhase.DONE)


def call_off(session: Session, move: Move) -> None:
    """No copy is left at the new address: the pool gets it back if it came from there."""
    if move.target_taken:
        addresses.rest(session, session.get_one(Address, move.target_id))
    _end(session, move, MovePhase.CANCELLED)


def _end(session: Session, move: Move, phase: MovePhase) -> None:
    enter(session, move, phase)
    move.ended_at = utcnow()


def note(session: Session, move: Move, message: str, seconds: float) -> None:
    """What the move waits for, and for how many seconds."""
    move.failures, move.reason, move.message = 0, None, message
    move.due_at = utcnow() + timedelta(seconds=seconds)
    session.add(move)


def fail(session: Session, move: Move, reason: Reason, message: str, seconds: float) -> None:
    """A step failed and is tried again; whoever was held is served again."""
    let_go(session, move)
    move.failures += 1
    move.reason, move.message = reason, message
    move.due_at = utcnow() + timedelta(seconds=seconds)
    session.add(move)
