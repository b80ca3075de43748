"""API keys: bearer tokens of a workspace, stored as digests."""

import re
import secrets
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import bindparam
from sqlmodel import Session, col, select, update

from orchestrator.errors import Forbidden, Invalid, NotFound, Unauthorized
from orchestrator.models import ApiKey, Bucket, KeyScope, User, Workspace, utcnow
from orchestrator.secrets import token_digest
from orchestrator.services import mailboxes, rights, validation
from orchestrator.services.allowances import Rate

PREFIX = "adbtd_live_"
#: Of the tokens of users.
USER_PREFIX = "unmta_live_"
TOKEN_BYTES = 32
HINT_LENGTH = 8
MAX_NETWORKS = 100
#: How exactly it is known when a key was used last: more would be a write for every request.
USED_EVERY = timedelta(minutes=1)

# Every request begins with it: put together once, it takes half the time.
_BY_DIGEST = (
    select(Workspace, ApiKey)
    .join(ApiKey, col(ApiKey.workspace_id) == col(Workspace.id))
    .where(ApiKey.digest == bindparam("digest"), col(ApiKey.revoked_at).is_(None))
)
_SECRET = re.compile(r"[A-Za-z0-9_-]{43}")


class Limits(NamedTuple):
    """What a key is good for: a scope, one mailbox, until when, and from which networks.

    Without a mailbox it is for the workspace, without networks it is good from everywhere.
    """

    scope: KeyScope = KeyScope.FULL
    mailbox_id: UUID | None = None
    expires_at: datetime | None = None
    allowed_ips: Sequence[str] = ()


UNLIMITED = Limits()


def create(
    session: Session,
    workspace: Workspace,
    name: str,
    limits: Limits = UNLIMITED,
    *,
    rates: Mapping[Bucket, str] | None = None,
    maker: ApiKey | None = None,
) -> tuple[ApiKey, str]:
    """Make a key. The token is in the answer, and nowhere else afterwards.

    :param rates: instead of the settings', such as ``600/100`` (see ``Rate.parse``).
    :param maker: the key that asks for it. What isn't said is the same as of that one.
    :raises Invalid: when a value is malformed or the expiry has passed.
    :raises NotFound: when the mailbox is not the workspace's.
    :raises Forbidden: when it would last longer or be good from more networks than its maker.
    """
    row = ApiKey(
        workspace_id=workspace.id,
        name=validation.display_name(name),
        hint="",
        digest="",
        scope=limits.scope,
        mailbox_id=limits.mailbox_id,
        expires_at=_expiry(limits.expires_at, maker),
        allowed_ips=_networks(limits.allowed_ips, maker),
        rates=_rates(rates, maker),
    )
    if limits.mailbox_id is not None:
        mailboxes.get(session, workspace, limits.mailbox_id)
    return row, _mint(session, row, PREFIX)


def _mint(session: Session, row: ApiKey, prefix: str) -> str:
    secret = secrets.token_urlsafe(TOKEN_BYTES)
    row.hint, row.digest = secret[:HINT_LENGTH], token_digest(prefix + secret)
    session.add(row)
    session.flush()
    return prefix + secret


def create_for(
    session: Session, user: User, *, rates: Mapping[Bucket, str] | None = None
) -> tuple[ApiKey, str]:
    """Make a user's token; the one before it ends. A user has one at a time.

    :returns: as ``create``.
    """
    revoke_of(session, user)
    row = ApiKey(
        workspace_id=user.workspace_id,
        name=user.email,
        hint="",
        digest="",
        user_id=user.id,
        rates=_rates(rates, None),
    )
    return row, _mint(session, row, USER_PREFIX)


def of_user(session: Session, user: User) -> ApiKey | None:
    """The user's token; None for none."""
    rows = select(ApiKey).where(ApiKey.user_id == user.id, col(ApiKey.revoked_at).is_(None))
    return session.exec(rows).first()


def revoke_of(session: Session, user: User) -> bool:
    """End the user's token at once.

    :returns: whether there was one.
    """
    # Two requests at once: each sees what the other has made.
    session.exec(select(User.id).where(User.id == user.id).with_for_update()).all()
    rows = update(ApiKey).where(col(ApiKey.user_id) == user.id, col(ApiKey.revoked_at).is_(None))
    return session.exec(rows.values(revoked_at=utcnow())).rowcount > 0


def _expiry(wanted: datetime | None, maker: ApiKey | None) -> datetime | None:
    limit = None if maker is None else maker.expires_at
    if wanted is None:
        return limit
    if wanted <= utcnow():
        raise Invalid("expiresAt has passed already", field="expiresAt")
    if limit is not None and wanted > limit:
        raise Forbidden("a key can't make one that lasts longer than itself")
    return wanted


def _networks(wanted: Sequence[str], maker: ApiKey | None) -> list[str]:
    if len(wanted) > MAX_NETWORKS:
        raise Invalid(f"allowedIps holds more than {MAX_NETWORKS} networks", field="allowedIps")
    networks = [validation.network(text) for text in wanted]
    limit = [] if maker is None else maker.allowed_ips
    if not networks:
        return limit
    if not rights.covers(limit, networks):
        raise Forbidden("a key can't make one for networks that it isn't for itself")
    return [str(network) for network in networks]


def _rates(wanted: Mapping[Bucket, str] | None, maker: ApiKey | None) -> dict[str, str]:
    if wanted is None:
        return {} if maker is None else maker.rates
    return {str(bucket): "{}/{}".format(*Rate.parse(text)) for bucket, text in wanted.items()}


def authenticate(
    session: Session, token: str, now: datetime, prefix: str = PREFIX
) -> tuple[Workspace, ApiKey]:
    """Whose token it is.

    :param prefix: which kind of token it must be.
    :raises Unauthorized: when it is malformed, unknown, expired or revoked; it doesn't say which.
    """
    found = None
    if token.startswith(prefix) and _SECRET.fullmatch(token.removeprefix(prefix)):
        found = session.exec(_BY_DIGEST, params={"digest": token_digest(token)}).first()
    if found is None or (found[1].expires_at is not None and found[1].expires_at <= now):
        raise Unauthorized("the bearer token is not a valid API key")
    return found


def touch(session: Session, key: ApiKey, now: datetime) -> None:
    """Note that the key is used, at most once a minute.

    :param key: as it was just read.
    """
    if key.last_used_at is None or key.last_used_at <= now - USED_EVERY:
        session.exec(update(ApiKey).where(col(ApiKey.id) == key.id).values(last_used_at=now))


def revoke(session: Session, workspace: Workspace, key_id: UUID) -> ApiKey:
    """End a key at once; doing it again changes nothing."""
    row = session.get(ApiKey, key_id)
    if row is None or row.workspace_id != workspace.id or row.user_id is not None:
        raise NotFound("there is no such API key")
    row.revoked_at = row.revoked_at or utcnow()
    return row


def list_(session: Session, workspace: Workspace, *, revoked: bool = True) -> list[ApiKey]:
    """The workspace's keys, oldest first; not the tokens of its users.

    :param revoked: whether those that were revoked are among them.
    """
    rows = select(ApiKey).where(ApiKey.workspace_id == workspace.id, col(ApiKey.user_id).is_(None))
    if not revoked:
        rows = rows.where(col(ApiKey.revoked_at).is_(None))
    return list(session.exec(rows.order_by(col(ApiKey.id))))
