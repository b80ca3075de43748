"""API keys: bearer tokens of a workspace, stored as digests."""

import re
import secrets
from uuid import UUID

from sqlmodel import Session, col, select

from orchestrator.errors import NotFound, Unauthorized
from orchestrator.models import ApiKey, Workspace, utcnow
from orchestrator.secrets import token_digest
from orchestrator.services import validation

PREFIX = "adbtd_live_"
TOKEN_BYTES = 32
HINT_LENGTH = 8

_TOKEN = re.compile(PREFIX + r"[A-Za-z0-9_-]{43}")


def create(session: Session, workspace: Workspace, name: str) -> tuple[ApiKey, str]:
    """Make a key. The token is in the answer, and nowhere else afterwards."""
    token = PREFIX + secrets.token_urlsafe(TOKEN_BYTES)
    row = ApiKey(
        workspace_id=workspace.id,
        name=validation.display_name(name),
        hint=token.removeprefix(PREFIX)[:HINT_LENGTH],
        digest=token_digest(token),
    )
    session.add(row)
    session.flush()
    return row, token


def authenticate(session: Session, token: str) -> tuple[Workspace, ApiKey]:
    """Whose token it is.

    :raises Unauthorized: when it is malformed, unknown or revoked; it does not say which.
    """
    found = None
    if _TOKEN.fullmatch(token):
        rows = (
            select(Workspace, ApiKey)
            .join(ApiKey, col(ApiKey.workspace_id) == col(Workspace.id))
            .where(ApiKey.digest == token_digest(token), col(ApiKey.revoked_at).is_(None))
        )
        found = session.exec(rows).first()
    if found is None:
        raise Unauthorized("the bearer token is not a valid API key")
    return found


def revoke(session: Session, workspace: Workspace, key_id: UUID) -> ApiKey:
    """End a key at once; doing it again changes nothing."""
    row = session.get(ApiKey, key_id)
    if row is None or row.workspace_id != workspace.id:
        raise NotFound("there is no such API key")
    row.revoked_at = row.revoked_at or utcnow()
    return row


def list_(session: Session, workspace: Workspace) -> list[ApiKey]:
    """The workspace's keys, revoked ones included, oldest first."""
    rows = select(ApiKey).where(ApiKey.workspace_id == workspace.id)
    return list(session.exec(rows.order_by(col(ApiKey.id))))
