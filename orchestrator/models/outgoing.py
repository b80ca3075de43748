"""What tenants send: their templates, and messages that wait for their time."""

from datetime import datetime
from enum import StrEnum
from uuid import UUID

from sqlalchemy import JSON, BigInteger, UniqueConstraint
from sqlmodel import Field

from orchestrator.models.base import Row, UtcDateTime, as_text, utcnow


class ScheduledState(StrEnum):
    """How far a scheduled message is."""

    SCHEDULED = "scheduled"
    #: Taken up: it may reach the server at any moment.
    SENDING = "sending"
    SENT = "sent"
    FAILED = "failed"
    CANCELLED = "cancelled"


class Template(Row, table=True):
    """A tenant's template of messages; ``text`` or ``html`` or both are set."""

    __table_args__ = (UniqueConstraint("workspace_id", "name"),)

    workspace_id: UUID = Field(foreign_key="workspace.id")
    name: str
    subject: str
    text: str | None = None
    html: str | None = None
    updated_at: datetime = Field(default_factory=utcnow, sa_type=UtcDateTime)


class ScheduledMessage(Row, table=True):
    """A message to submit at a time, with what became of it."""

    workspace_id: UUID = Field(foreign_key="workspace.id", index=True)
    mailbox_id: UUID = Field(foreign_key="mailbox.id", index=True)
    #: Fixed, so that a message that was submitted twice can be recognised.
    message_id: str
    send_at: datetime = Field(sa_type=UtcDateTime)
    #: When it is tried next, which is also until when somebody has claimed it.
    due_at: datetime = Field(sa_type=UtcDateTime, index=True)
    state: ScheduledState = Field(default=ScheduledState.SCHEDULED, sa_type=as_text(ScheduledState))
    #: The latest claim; an older one may change nothing any more.
    claim: str = ""
    failures: int = 0
    #: Encrypted: its recipients and its source. Erased once it is ended.
    content: str | None = None
    #: Octets of the source.
    size: int = Field(sa_type=BigInteger)
    ended_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    #: What the server said last.
    response: str = ""
    accepted: list[str] = Field(default_factory=list, sa_type=JSON)
    rejected: list[str] = Field(default_factory=list, sa_type=JSON)
    refusals: list[str] = Field(default_factory=list, sa_type=JSON)
