"""Clusters: a workspace's set of MTAs, and the credentials that its applications submit with."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import JSON, Index, text
from sqlmodel import Field

from orchestrator.models.base import Row, UtcDateTime, utcnow


class Cluster(Row, table=True):
    """A workspace's set of MTAs; ``slug`` is what its clients know it by."""

    workspace_id: UUID = Field(foreign_key="workspace.id", index=True)
    slug: str = Field(unique=True)
    #: Under which all of its MTAs are reached.
    hostname: str = Field(unique=True)
    region: str
    #: For each MTA, as it was given (``1,000/day``); None for no limit.
    max_message_rate: str | None = None
    updated_at: datetime = Field(default_factory=utcnow, sa_type=UtcDateTime)


class Credential(Row, table=True):
    """A login for submission through a cluster's MTAs; only the hash of its password is kept."""

    __table_args__ = (
        Index(
            "uq_credential_login",
            "cluster_id",
            "login",
            unique=True,
            sqlite_where=text("deleted_at IS NULL"),
            postgresql_where=text("deleted_at IS NULL"),
        ),
    )

    cluster_id: UUID = Field(foreign_key="cluster.id", index=True)
    #: As it was given, and in lower case: mail servers make no difference.
    username: str
    login: str
    password_hash: str
    allow_all_domains: bool
    #: Names of the cluster's domains; empty where all are allowed.
    domains: list[str] = Field(default_factory=list, sa_type=JSON)
    allow_all_ips: bool
    #: Addresses and networks (CIDR); empty where all are allowed.
    allowed_ips: list[str] = Field(default_factory=list, sa_type=JSON)
    updated_at: datetime = Field(default_factory=utcnow, sa_type=UtcDateTime)
    deleted_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
