"""A database that came from a backup is older than the world: nothing goes out of it by itself.

Since the backup mailboxes may have moved, hosts have been changed and messages been sent, of which
its rows know nothing. So nothing reaches a host, a name server, a registrar or a recipient until
an operator has looked and says so.
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from sqlmodel import Session, and_, col, func, select, update

from orchestrator import transit
from orchestrator.errors import Conflict, NotFound
from orchestrator.models import (
    Address,
    Domain,
    Host,
    Mailbox,
    Move,
    MovePhase,
    RelocationState,
    ScheduledMessage,
    ScheduledState,
    Workspace,
    utcnow,
)
from orchestrator.services import hosts, moves, relocations, scheduled
from orchestrator.services.rows import lock
from orchestrator.services.wake import wake_dns


@dataclass(frozen=True)
class Held:
    """What a restored database does not do by itself.

    ``hosts`` by name, with why each is paused; ``moves`` that were ended; ``messages`` that were
    overdue and given up, how many of each workspace; ``purges``: deleted mailboxes whose mail
    goes from the hosts once these are resumed.
    """

    hosts: dict[str, str]
    moves: list[str]
    messages: dict[str, int]
    purges: list[str]


def hold(session: Session, made_at: datetime) -> Held:
    """Let nothing go out until ``release``, of a database that is as it was at ``made_at``."""
    why = reason(made_at)
    rows = hosts.list_(session)
    for host in rows:
        host.restored_from = made_at
        # Who was paused before has a reason of his own, and keeps it.
        if not host.paused:
            hosts.pause(session, host, why)
    purges = select(Mailbox.email).where(col(Mailbox.purge_since).is_not(None))
    return Held(
        hosts={host.name: host.pause_reason for host in rows},
        moves=_end_moves(session, why),
        messages=_end_overdue(session, why),
        purges=list(session.exec(purges.order_by(Mailbox.email))),
    )


def held(session: Session) -> datetime | None:
    """When the backup was made that nobody has looked at yet; None: there is none."""
    rows = select(Host.restored_from).where(col(Host.restored_from).is_not(None))
    return session.exec(rows.limit(1)).first()


def reason(made_at: datetime) -> str:
    """What it is held for, as a line."""
    return f"restored from the backup of {made_at:%Y-%m-%d %H:%M:%S} UTC"


def follow(session: Session, source: Address, to: Address, emails: Collection[str]) -> None:
    """These mailboxes have moved from ``source`` to ``to`` since the backup: now the rows say so.

    Nothing is copied, or removed from a host. An address that has none left cools down.

    :raises NotFound: when one of them is not at ``source``.
    :raises Conflict: when there is nothing restored to be set right, and as ``moves.start``.
    """
    made_at = held(session)
    if made_at is None:
        raise Conflict("no host waits after a restore: what moves now has to be copied")
    move = moves.start(session, source, to=to)
    there = {mailbox.email: (row, mailbox) for row, mailbox in relocations.gather(session, move)}
    if missing := sorted(set(emails) - set(there)):
        raise NotFound(f"{missing[0]} is not at {source.ip}")
    for email in emails:
        row, mailbox = there[email]
        row.state, mailbox.address_id = RelocationState.MOVED, to.id
    if len(set(emails)) == len(there):
        relocations.finish(session, move)
    else:
        _end(session, move, f"{reason(made_at)}; some had moved before it was restored")


def release(session: Session) -> list[Host]:
    """Let everything go on.

    :returns: the hosts that are resumed; one that was paused before the backup stays so.
    """
    # Domains are locked before hosts (see ``db``).
    wake_dns(session, *session.exec(select(Workspace.id)))
    lock(session, Host, session.exec(select(Host.id)).all())
    rows = select(Host).where(col(Host.restored_from).is_not(None)).order_by(Host.name)
    resumed = []
    for host in session.exec(rows).all():
        assert host.restored_from is not None
        if host.pause_reason == reason(host.restored_from):
            resumed.append(hosts.unpause(session, host))
        host.restored_from = None
    return resumed


def living(session: Session) -> dict[str, int]:
    """How many hosts, workspaces, tenants' domains and mailboxes there are."""
    questions = {
        "hosts": select(func.count(col(Host.id))),
        "workspaces": select(func.count(col(Workspace.id))),
        "domains": select(func.count(col(Domain.id))).where(
            col(Domain.workspace_id).is_not(None), col(Domain.deleted_at).is_(None)
        ),
        "mailboxes": select(func.count(col(Mailbox.id))).where(col(Mailbox.deleted_at).is_(None)),
    }
    return {name: session.exec(question).one() for name, question in questions.items()}


def _end_moves(session: Session, why: str) -> list[str]:
    """End the moves that were under way, and touch nothing on their hosts.

    Each may be over since, with its mail on the new host alone: going on would copy an empty
    mailbox over it, and calling it off remove it. Each mailbox stays at the address that it has.
    """
    rows = select(Move).where(col(Move.phase).in_(transit.UNDER_WAY)).order_by(col(Move.id))
    ended = []
    for move in session.exec(rows).all():
        seen = moves.progress(session, move)
        ended.append(
            f"{seen.source} ({seen.from_host}) -> {seen.target} ({seen.to_host}) of "
            f"{seen.workspace}: was {seen.phase}, {seen.moved} of {seen.mailboxes} mailboxes moved"
        )
        _end(session, move, f"{why}; what is on the hosts was left there")
    return ended


def _end(session: Session, move: Move, why: str) -> None:
    move.phase, move.ended_at, move.claim = MovePhase.CANCELLED, utcnow(), ""
    move.reason, move.message = None, why
    session.add(move)


def _end_overdue(session: Session, why: str) -> dict[str, int]:
    """Give up the messages that may have been sent since the backup.

    Their senders are told, and may send again what did not arrive.
    """
    now = utcnow()
    overdue = and_(
        col(ScheduledMessage.state).in_(scheduled.WAITING), col(ScheduledMessage.send_at) <= now
    )
    counts = (
        select(Workspace.slug, func.count())
        .join(ScheduledMessage, col(ScheduledMessage.workspace_id) == col(Workspace.id))
        .where(overdue)
        .group_by(Workspace.slug)
        .order_by(Workspace.slug)
    )
    found = dict(session.exec(counts).all())
    values = {
        "state": ScheduledState.FAILED,
        "content": None,
        "ended_at": now,
        "response": f"{why}: it may have been sent already",
    }
    session.exec(update(ScheduledMessage).where(overdue).values(**values))
    return found
