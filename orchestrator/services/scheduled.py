"""Messages that are submitted later: kept encrypted until their time, erased afterwards."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import UUID

import msgspec
from sqlmodel import Session, col, delete, func, select, update
from uuid_utils.compat import uuid7

from orchestrator.errors import Conflict, Invalid, NotFound
from orchestrator.mail.types import Prepared, Submission
from orchestrator.models import Mailbox, ScheduledMessage, ScheduledState, Workspace, utcnow
from orchestrator.secrets import Vault
from orchestrator.services.rows import lock

FURTHEST = timedelta(days=365)
#: What one workspace may have waiting: messages, and octets of them.
MAX_WAITING = 10_000
MAX_WAITING_BYTES = 1024**3
#: How long whoever takes up a message has it to itself: longer than any submission may take.
CLAIM = timedelta(minutes=15)
#: How long after its time a message is still tried.
GIVE_UP = timedelta(hours=24)
#: Days that what became of a message is told.
KEPT = timedelta(days=30)
#: What a list shows at most, newest first.
MAX_LISTED = 1000

#: Nothing is put off for longer: neither by a claim nor after a failure.
LONGEST = timedelta(hours=2)

WAITING = (ScheduledState.SCHEDULED, ScheduledState.SENDING)


@dataclass(frozen=True)
class Task:
    """A message that is ours to submit, and until when it is worth trying again."""

    id: UUID
    workspace_id: UUID
    mailbox_id: UUID
    claim: str
    message_id: str
    content: str = field(repr=False)
    failures: int
    give_up_at: datetime


def check_time(moment: datetime, now: datetime) -> datetime:
    """Raise ``Invalid`` for a time that is past, or more than a year ahead."""
    if not now < moment <= now + FURTHEST:
        raise Invalid("sendAt is past, or more than a year ahead", field="sendAt")
    return moment


def seal(vault: Vault, message: Prepared) -> str:
    """Encrypt a message for the database: before a transaction, it takes time for large ones."""
    # A prepared message is ASCII.
    parts = [message.recipients, message.content.decode("ascii")]
    return vault.encrypt(msgspec.json.encode(parts).decode())


def unseal(vault: Vault, task: Task) -> Prepared:
    """What ``seal`` was given."""
    shape = tuple[tuple[str, ...], str]
    recipients, source = msgspec.json.decode(vault.decrypt(task.content), type=shape)
    return Prepared(task.message_id, recipients, source.encode("ascii"))


def add(
    session: Session,
    workspace: Workspace,
    mailbox_id: UUID,
    *,
    message: Prepared,
    sealed: str,
    send_at: datetime,
) -> ScheduledMessage:
    """Keep a message until its time.

    :param sealed: the same message, encrypted.
    :raises NotFound: when the mailbox has gone meanwhile; Conflict when too much waits already.
    """
    lock(session, Workspace, [workspace.id])
    mailbox = session.get(Mailbox, mailbox_id)
    if mailbox is None or mailbox.workspace_id != workspace.id or mailbox.deleted_at is not None:
        raise NotFound("there is no such mailbox on this workspace")
    waiting = select(func.count(), func.coalesce(func.sum(ScheduledMessage.size), 0)).where(
        ScheduledMessage.workspace_id == workspace.id, col(ScheduledMessage.state).in_(WAITING)
    )
    count, size = session.exec(waiting).one()
    if count >= MAX_WAITING or size + len(message.content) > MAX_WAITING_BYTES:
        raise Conflict("too many scheduled messages wait on this workspace")
    row = ScheduledMessage(
        workspace_id=workspace.id,
        mailbox_id=mailbox_id,
        message_id=message.message_id,
        send_at=send_at,
        due_at=send_at,
        content=sealed,
        size=len(message.content),
    )
    session.add(row)
    session.flush()
    return row


def list_(session: Session, workspace: Workspace) -> list[ScheduledMessage]:
    """The workspace's scheduled messages, newest first; those that ended are forgotten in time."""
    rows = select(ScheduledMessage).where(ScheduledMessage.workspace_id == workspace.id)
    newest = rows.order_by(col(ScheduledMessage.id).desc())
    return list(session.exec(newest.limit(MAX_LISTED)))


def get(session: Session, workspace: Workspace, scheduled_id: UUID) -> ScheduledMessage:
    """One of the workspace's scheduled messages."""
    row = session.get(ScheduledMessage, scheduled_id)
    if row is None or row.workspace_id != workspace.id:
        raise NotFound("there is no such scheduled message on this workspace")
    return row


def cancel(session: Session, workspace: Workspace, scheduled_id: UUID) -> ScheduledMessage:
    """Take a message back.

    :raises Conflict: when it is being sent, or has ended.
    """
    row = get(session, workspace, scheduled_id)
    session.refresh(row, with_for_update=True)
    if row.state is not ScheduledState.SCHEDULED:
        raise Conflict(f"the message is {row.state} already")
    _end(row, ScheduledState.CANCELLED, "")
    return row


def cancel_all(session: Session, mailbox_ids: Collection[UUID]) -> None:
    """Take back all that waits in mailboxes that are deleted; what is being sent ends by itself."""
    waiting = update(ScheduledMessage).where(
        col(ScheduledMessage.mailbox_id).in_(mailbox_ids),
        col(ScheduledMessage.state) == ScheduledState.SCHEDULED,
    )
    values = {
        "state": ScheduledState.CANCELLED,
        "content": None,
        "ended_at": utcnow(),
        "response": "the mailbox was deleted",
    }
    session.exec(waiting.values(**values))


def due(session: Session, now: datetime) -> Sequence[UUID]:
    """The messages whose time has come, longest due first."""
    rows = select(ScheduledMessage.id).where(
        ScheduledMessage.due_at <= now, col(ScheduledMessage.state).in_(WAITING)
    )
    return session.exec(rows.order_by(col(ScheduledMessage.due_at)).limit(100)).all()


def take(session: Session, scheduled_id: UUID, now: datetime) -> Task | None:
    """Take up a message that is due; None when somebody else has it, or it was taken back."""
    mine = select(ScheduledMessage).where(
        ScheduledMessage.id == scheduled_id,
        ScheduledMessage.due_at <= now,
        col(ScheduledMessage.state).in_(WAITING),
    )
    row = session.exec(mine.with_for_update(skip_locked=True)).first()
    if row is None or row.content is None:
        return None
    row.state, row.due_at, row.claim = ScheduledState.SENDING, now + CLAIM, uuid7().hex
    return Task(
        row.id,
        row.workspace_id,
        row.mailbox_id,
        row.claim,
        row.message_id,
        row.content,
        row.failures,
        row.send_at + GIVE_UP,
    )


def sent(session: Session, task: Task, submission: Submission) -> None:
    """Write down what the server said of a message that it took."""
    row = _claimed(session, task)
    if row is not None:
        _end(row, ScheduledState.SENT, submission.response)
        row.accepted, row.rejected = list(submission.accepted), list(submission.rejected)
        row.refusals = list(submission.refusals)


def put_off(session: Session, task: Task, words: str, wait: timedelta, now: datetime) -> None:
    """Write down why it was not sent; it is tried again after ``wait`` unless that is too late."""
    row = _claimed(session, task)
    if row is None:
        return
    if now + wait > task.give_up_at:
        _end(row, ScheduledState.FAILED, words)
        return
    row.state, row.due_at = ScheduledState.SCHEDULED, now + wait
    row.failures, row.response = task.failures + 1, words


def failed(session: Session, task: Task, words: str) -> None:
    """Write down that it will never be sent, and why."""
    row = _claimed(session, task)
    if row is not None:
        _end(row, ScheduledState.FAILED, words)


def set_right(session: Session, now: datetime) -> None:
    """Make due now what a clock that was ahead has put off for too long."""
    late = update(ScheduledMessage).where(
        col(ScheduledMessage.state).in_(WAITING),
        col(ScheduledMessage.claim) != "",
        col(ScheduledMessage.due_at) > now + LONGEST,
    )
    session.exec(late.values(due_at=now))


def prune(session: Session, now: datetime) -> None:
    """Forget the messages that ended long ago."""
    session.exec(delete(ScheduledMessage).where(col(ScheduledMessage.ended_at) < now - KEPT))


def _claimed(session: Session, task: Task) -> ScheduledMessage | None:
    """The task's row; None when it was taken back, or taken up by somebody else since."""
    mine = select(ScheduledMessage).where(
        ScheduledMessage.id == task.id,
        ScheduledMessage.claim == task.claim,
        ScheduledMessage.state == ScheduledState.SENDING,
    )
    return session.exec(mine.with_for_update()).first()


def _end(row: ScheduledMessage, state: ScheduledState, words: str) -> None:
    row.state, row.content, row.ended_at, row.response = state, None, utcnow(), words
