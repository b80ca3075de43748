"""The last step of deletion: a deleted row goes once every host has applied its absence."""

from collections.abc import Sequence
from datetime import timedelta
from uuid import UUID

from sqlalchemy import delete
from sqlmodel import Session, col, func, select

from orchestrator import transit
from orchestrator.models import (
    Condition,
    Credential,
    DkimKey,
    Domain,
    Host,
    Mailbox,
    Move,
    Relocation,
    ScheduledMessage,
    utcnow,
)

#: How long mail may wait on a host: Postfix's ``maximal_queue_lifetime``.
QUEUE_LIFETIME = timedelta(days=5)


def deleted(session: Session) -> int:
    """Remove the mailboxes, domains and credentials that no host holds any more.

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
    # Hosts go on sending what was accepted as a cluster's domain before.
    queued = col(Domain.cluster_id).is_not(None) & (
        col(Domain.deleted_at) >= utcnow() - QUEUE_LIFETIME
    )
    domains = session.exec(
        select(Domain.id).where(
            col(Domain.deleted_at) < oldest, col(Domain.id).not_in(held), ~queued
        )
    ).all()
    session.connection().execute(delete(DkimKey).where(col(DkimKey.domain_id).in_(domains)))
    session.connection().execute(delete(Condition).where(col(Condition.subject_id).in_(domains)))
    _remove(session, Domain, domains)
    credentials = session.exec(
        select(Credential.id).where(col(Credential.deleted_at) < oldest)
    ).all()
    _remove(session, Credential, credentials)
    return len(mailboxes) + len(domains) + len(credentials)


def _remove(
    session: Session,
    table: type[Mailbox] | type[Domain] | type[Credential],
    ids: Sequence[UUID],
) -> None:
    session.connection().execute(delete(table).where(col(table.id).in_(ids)))
