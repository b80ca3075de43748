"""The mail of an address on its way to another host."""

from datetime import datetime
from enum import StrEnum
from uuid import UUID

from sqlalchemy import UniqueConstraint
from sqlmodel import Field

from orchestrator.conditions import Reason
from orchestrator.models.base import Row, UtcDateTime, as_text, utcnow


class MovePhase(StrEnum):
    """How far the move of one address's mail to another address is."""

    #: The new address comes into service; both are named in DNS.
    PREPARING = "preparing"
    #: Mailboxes are copied while the old host serves them.
    COPYING = "copying"
    #: Mailbox by mailbox goes over.
    SWITCHING = "switching"
    #: The old host still hands on what reaches it, until nothing in DNS names it any more.
    OVERLAPPING = "overlapping"
    DONE = "done"
    CANCELLING = "cancelling"
    CANCELLED = "cancelled"


class RelocationState(StrEnum):
    """Who serves a mailbox that is moving."""

    WAITING = "waiting"
    #: Nobody for a moment: its mail waits while the last of it is copied.
    HELD = "held"
    MOVED = "moved"


class Move(Row, table=True):
    """The mail of one address on its way to another host's address of the same workspace."""

    workspace_id: UUID = Field(foreign_key="workspace.id", index=True)
    source_id: UUID = Field(foreign_key="address.id", index=True)
    target_id: UUID = Field(foreign_key="address.id", index=True)
    #: Whether the target came out of the pool for this move.
    target_taken: bool
    #: Whether it goes on without having seen the new records in DNS.
    ignore_dns: bool = False
    phase: MovePhase = Field(default=MovePhase.PREPARING, sa_type=as_text(MovePhase))
    #: A moment after its last change was committed; None until the mover has seen that change.
    settling_since: datetime | None = Field(default=None, sa_type=UtcDateTime)
    #: Since when DNS no longer names the source.
    unnamed_since: datetime | None = Field(default=None, sa_type=UtcDateTime)
    #: When it is taken up next, which is also until when a mover has claimed it.
    due_at: datetime = Field(default_factory=utcnow, sa_type=UtcDateTime, index=True)
    #: The latest claim; an older one may change nothing any more.
    claim: str = ""
    failures: int = 0
    reason: Reason | None = Field(default=None, sa_type=as_text(Reason))
    message: str = ""
    ended_at: datetime | None = Field(default=None, sa_type=UtcDateTime)


class Relocation(Row, table=True):
    """One mailbox of a move."""

    __table_args__ = (UniqueConstraint("move_id", "mailbox_id"),)

    move_id: UUID = Field(foreign_key="move.id")
    mailbox_id: UUID = Field(foreign_key="mailbox.id", index=True)
    state: RelocationState = Field(
        default=RelocationState.WAITING, sa_type=as_text(RelocationState)
    )
    #: Messages that the last copy held, once there was one.
    messages: int | None = None
    #: Digest of what the old host held of it when it went over.
    listing: str | None = None
