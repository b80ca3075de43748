"""What was observed: conditions, and proofs of egress."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import UniqueConstraint
from sqlmodel import Field

from orchestrator.conditions import Reason, Status, Type
from orchestrator.models.base import Row, UtcDateTime, as_text, utcnow


class Condition(Row, table=True):
    """What was last observed of a subject (a host, an address or a domain)."""

    __table_args__ = (UniqueConstraint("subject_id", "type"),)

    subject_id: UUID
    type: Type = Field(sa_type=as_text(Type))
    status: Status = Field(sa_type=as_text(Status))
    #: The last status that was not Unknown; None until something was seen.
    known: Status | None = Field(default=None, sa_type=as_text(Status))
    reason: Reason = Field(sa_type=as_text(Reason))
    message: str = ""
    #: Digest of the desired state that this was observed for.
    observed_digest: str | None = None
    transition_at: datetime = Field(default_factory=utcnow, sa_type=UtcDateTime)
    observed_at: datetime = Field(default_factory=utcnow, sa_type=UtcDateTime)


class EgressProbe(Row, table=True):
    """A message sent out through one address, and what the receiver saw of it."""

    address_id: UUID = Field(foreign_key="address.id", index=True)
    token: str = Field(unique=True)
    arrived_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    source_ip: str | None = None
    ehlo: str | None = None
    dkim_domain: str | None = None
