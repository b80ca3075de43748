"""What is remembered of API requests: how fast they come, and how they were answered."""

from datetime import datetime
from enum import StrEnum
from uuid import UUID

from sqlalchemy import BigInteger, UniqueConstraint
from sqlmodel import Field

from orchestrator.models.base import Row, UtcDateTime, as_text, utcnow


class Bucket(StrEnum):
    """What a rate is for."""

    DEFAULT = "default"
    SEND = "send"
    FETCH = "fetch"


class RateBucket(Row, table=True):
    """How full a key's token bucket is; without a row it is full."""

    __table_args__ = (UniqueConstraint("key_id", "bucket"),)

    key_id: UUID = Field(foreign_key="apikey.id")
    bucket: Bucket = Field(sa_type=as_text(Bucket))
    #: When it will be full again: microseconds since 1970, which both databases reckon with alike.
    full_at: int = Field(sa_type=BigInteger, index=True)


class RecordedRequest(Row, table=True):
    """A POST with an Idempotency-Key: under way while it has no status, then its answer."""

    __table_args__ = (UniqueConstraint("key_id", "name"),)

    key_id: UUID = Field(foreign_key="apikey.id")
    #: The client's Idempotency-Key.
    name: str
    #: Of method, path and body, keyed with the bearer token (which is stored nowhere).
    digest: str
    #: Whose it is while under way: a later claim takes it from an earlier one.
    claim: str
    claimed_at: datetime = Field(default_factory=utcnow, sa_type=UtcDateTime)
    #: When it was first sent; it is forgotten a day later.
    received_at: datetime = Field(default_factory=utcnow, sa_type=UtcDateTime, index=True)
    status: int | None = None
    content_type: str = ""
    #: Encrypted: it may hold a token or a password.
    body: str = ""
