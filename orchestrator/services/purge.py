"""The last step of deletion: a deleted row goes once every host has applied its absence."""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import delete
from sqlmodel import Session, col, func, select

from orchestrator import transit
from orchestrator.models import (
    Condition,
    DkimKey,
    Domain,
    Host,
    Mailbox,
    Move,
    Relocation,
    ScheduledMessage,
)


def deleted(session: Session) -> int:
    """Remove the mailboxes and domains that no host holds any more.

    :returns: how many rows went.
    """
    never = select(func.count()).select_from(Host).where(col(Host.applied_at).is_(None))
    oldest = session.exec(select(func.min(Host.applied_at))).one()
    if session.exec(never).one() or oldest is None:
        return 0
    # A move may still be copying mail that must go.
    moving = select(Relocation.mailbox_id).join(Move, col(Move.id) == col(Relocation.move_id))
    moving = moving.where(col(Move.phase).in_(transit.UNDER_WAY))
    gone = select(Mailbox.id).where(
        col(Mailbox.deleted_at) < oldest,
        col(Mailbox.purge_since).is_(None) | col(Mailbox.id).not_in(moving),
    )
    mailboxes = session.exec(gone).all()
    moved = delete(Relocation).where(col(Relocation.mailbox_id).in_(mailboxes))
    session.connection().execute(moved)
    scheduled = delete(ScheduledMessage).where(col(ScheduledMessage.mailbox_id).in_(mailboxes))
    session.connection().execute(scheduled)
    _remove(session, Mailbox, mailboxes)
    held = select(Mailbox.domain_id)
    domains = session.exec(
        select(Domain.id).where(col(Domain.deleted_at) < oldest, col(Domain.id).not_in(held))
    ).all()
    session.connection().execute(delete(DkimKey).where(col(DkimKey.domain_id).in_(domains)))
    session.connection().execute(delete(Condition).where(col(Condition.subject_id).in_(domains)))
    _remove(session, Domain, domains)
    return len(mailboxes) + len(domains)


def _remove(session: Session, table: type[Mailbox] | type[Domain], ids: Sequence[UUID]) -> None:
    session.connection().execute(delete(table).where(col(table.id).in_(ids)))
