"""Tenants: workspaces with their keys, orders, mailboxes and aliases."""

from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import JSON, Index, UniqueConstraint, text
from sqlmodel import Field

from orchestrator.models.base import Row, UtcDateTime, as_text


class OrderKind(StrEnum):
    """What was ordered."""

    DOMAIN = "domain"
    ADDRESSES = "ips"
    MAILBOXES = "mailboxes"


class OrderStatus(StrEnum):
    """How far an order is."""

    PENDING_PROVISION = "pending_provision"
    PROVISIONED = "provisioned"
    FAILED = "failed"


class KeyScope(StrEnum):
    """What a key may do at most."""

    FULL = "full"
    READ = "read"
    SEND = "send"


class Workspace(Row, table=True):
    """A tenant. ``verification_token`` proves its domains in DNS."""

    slug: str = Field(unique=True)
    name: str
    currency: str = "usd"
    verification_token: str


class ApiKey(Row, table=True):
    """A bearer token of one workspace; only its digest is kept."""

    workspace_id: UUID = Field(foreign_key="workspace.id", index=True)
    name: str
    #: The first eight characters after the prefix, shown to recognise the key.
    hint: str
    digest: str = Field(unique=True)
    scope: KeyScope = Field(default=KeyScope.FULL, sa_type=as_text(KeyScope))
    #: The one mailbox that it is for. No foreign key: it stays bound when the mailbox is gone.
    mailbox_id: UUID | None = None
    #: The user whose token it is. No foreign key: a revoked one stays when the user is gone.
    user_id: UUID | None = Field(default=None, index=True)
    expires_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    #: Networks (CIDR) that it may be used from; empty means from everywhere.
    allowed_ips: list[str] = Field(default_factory=list, sa_type=JSON)
    #: Rates that the operator gave it instead of the settings', by bucket: ``{"send": "600/100"}``.
    rates: dict[str, str] = Field(default_factory=dict, sa_type=JSON)
    #: When it was used last, within a minute.
    last_used_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    revoked_at: datetime | None = Field(default=None, sa_type=UtcDateTime)


class User(Row, table=True):
    """Somebody who signs in to a workspace's dashboard."""

    __tablename__ = "users"

    workspace_id: UUID = Field(foreign_key="workspace.id", index=True)
    email: str = Field(unique=True)
    name: str
    password_hash: str


class Order(Row, table=True):
    """A request that costs money or inventory."""

    __tablename__ = "orders"

    workspace_id: UUID = Field(foreign_key="workspace.id", index=True)
    kind: OrderKind = Field(sa_type=as_text(OrderKind))
    status: OrderStatus = Field(default=OrderStatus.PENDING_PROVISION, sa_type=as_text(OrderStatus))
    detail: dict[str, Any] = Field(default_factory=dict, sa_type=JSON)
    #: Why it failed; empty otherwise. What a pending one waits for is derived, not stored.
    reason: str = ""
    #: Since when status and reason stand for good.
    settled_at: datetime | None = Field(default=None, sa_type=UtcDateTime)


class Mailbox(Row, table=True):
    """A mailbox and login; ``password`` is encrypted, ``password_hash`` is what hosts get."""

    __table_args__ = (
        Index(
            "uq_mailbox_email",
            "email",
            "workspace_id",
            unique=True,
            sqlite_where=text("deleted_at IS NULL"),
            postgresql_where=text("deleted_at IS NULL"),
        ),
        Index(
            "ix_mailbox_purged",
            "email",
            sqlite_where=text("purge_since IS NOT NULL"),
            postgresql_where=text("purge_since IS NOT NULL"),
        ),
    )

    workspace_id: UUID = Field(foreign_key="workspace.id", index=True)
    domain_id: UUID = Field(foreign_key="domain.id", index=True)
    address_id: UUID = Field(foreign_key="address.id", index=True)
    email: str
    password: str
    password_hash: str
    quota_mib: int
    #: Below which its mail is on its host: see ``hostspec.MailStore``.
    directory: str = ""
    #: Since when its password or its suspension is as it is now; None: from the beginning.
    login_since: datetime | None = Field(default=None, sa_type=UtcDateTime)
    suspended_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    deleted_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    #: Since when its mail must be on no host any more; None for ever after most deletions.
    purge_since: datetime | None = Field(default=None, sa_type=UtcDateTime)


class Alias(Row, table=True):
    """A further address of a mailbox: mail to it is the mailbox's, and it may send with it."""

    __table_args__ = (UniqueConstraint("email", "workspace_id"),)

    workspace_id: UUID = Field(foreign_key="workspace.id")
    mailbox_id: UUID = Field(foreign_key="mailbox.id", index=True)
    domain_id: UUID = Field(foreign_key="domain.id", index=True)
    email: str
