"""Requests with an Idempotency-Key: done once, and answered alike when they are sent again."""

import re
from datetime import datetime, timedelta
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import Update
from sqlmodel import Session, col, delete, select, update
from uuid_utils.compat import uuid4, uuid7

from orchestrator.errors import Conflict, Invalid
from orchestrator.models import ApiKey, RecordedRequest
from orchestrator.secrets import Vault
from orchestrator.services.rows import insert
from orchestrator.settings import Settings

UNDER_WAY = "the request with this Idempotency-Key is still under way"

_NAME = re.compile(r"[\x20-\x7e]{1,255}")


class Claim(NamedTuple):
    """A request that is ours to do."""

    request_id: UUID
    claim: str


class Answer(NamedTuple):
    """How a request was answered."""

    status: int
    content_type: str
    body: bytes


def name(values: list[str]) -> str:
    """The key that a client sent.

    :raises Invalid: when there are several, or it is not 1 to 255 printable ASCII characters.
    """
    if len(values) != 1 or not _NAME.fullmatch(values[0]):
        raise Invalid("Idempotency-Key is not one value of 1 to 255 printable ASCII characters")
    return values[0]


def begin(  # noqa: PLR0917 - key, name and digest are what a request is known by
    session: Session, settings: Settings, key: ApiKey, name: str, digest: str, now: datetime
) -> Claim | RecordedRequest:
    """Take up a request, or find how it was answered before.

    :param digest: of what was asked; the same for the same request alone.
    :raises Conflict: when the name was used for another request, or this one is under way.
    """
    ours = str(uuid4())
    fresh = {"digest": digest, "claim": ours, "claimed_at": now, "received_at": now}
    row = {"id": uuid7(), "created_at": now, "key_id": key.id, "name": name}
    new = insert(session, RecordedRequest).values(**row, **fresh, content_type="", body="")
    session.connection().execute(new.on_conflict_do_nothing(index_elements=["key_id", "name"]))
    found = select(RecordedRequest).where(
        RecordedRequest.key_id == key.id, RecordedRequest.name == name
    )
    held = session.exec(found.with_for_update()).first()
    if held is None:  # it failed this very moment, and was released
        raise Conflict(UNDER_WAY)
    if held.claim == ours:
        return Claim(held.id, ours)
    if held.received_at <= now - timedelta(seconds=settings.idempotency_seconds):
        held.sqlmodel_update({**fresh, "status": None, "content_type": "", "body": ""})
        return Claim(held.id, ours)
    if held.digest != digest:
        raise Conflict("this Idempotency-Key was used for another request")
    if held.status is not None:
        return held
    if held.claimed_at > now - timedelta(seconds=settings.idempotency_takeover):
        raise Conflict(UNDER_WAY)
    held.claim, held.claimed_at = ours, now
    return Claim(held.id, ours)


def answer(vault: Vault, row: RecordedRequest) -> Answer:
    """How a request that is done was answered."""
    assert row.status is not None
    return Answer(row.status, row.content_type, vault.decrypt(row.body).encode("latin-1"))


def renew(session: Session, claim: Claim, now: datetime) -> None:
    """Say that the request is still being done."""
    session.exec(_held(claim).values(claimed_at=now))


def settle(session: Session, vault: Vault, claim: Claim, given: Answer) -> None:
    """Keep the answer, unless another process has taken the request over."""
    # Any byte is a character of Latin-1, and comes back as it was.
    body = vault.encrypt(given.body.decode("latin-1"))
    kept = {"status": given.status, "content_type": given.content_type, "body": body}
    session.exec(_held(claim).values(**kept))


def release(session: Session, claim: Claim) -> None:
    """Forget the request: it may be sent again and done anew."""
    mine = col(RecordedRequest.claim) == claim.claim
    session.exec(delete(RecordedRequest).where(col(RecordedRequest.id) == claim.request_id, mine))


def _held(claim: Claim) -> Update:
    return update(RecordedRequest).where(
        col(RecordedRequest.id) == claim.request_id, col(RecordedRequest.claim) == claim.claim
    )


def forget(session: Session, settings: Settings, now: datetime) -> None:
    """Remove what is older than answers are kept."""
    end = now - timedelta(seconds=settings.idempotency_seconds)
    session.exec(delete(RecordedRequest).where(col(RecordedRequest.received_at) <= end))
