"""Names: the zones that we write, domains, their signing keys, the records that we published."""

from datetime import datetime
from enum import StrEnum
from uuid import UUID

from sqlalchemy import Index, UniqueConstraint, text
from sqlmodel import Field

from orchestrator.dns.records import Purpose
from orchestrator.models.base import Row, UtcDateTime, as_text, utcnow

#: Of the indexes on domains.
_OWN = "cluster_id IS NULL AND deleted_at IS NULL"
_PROVEN = f"verified_at IS NOT NULL AND {_OWN}"


class DomainMode(StrEnum):
    """Whether the tenant brings the domain or we buy it for them."""

    BYO = "byo"
    BUY = "buy"


class RegistrationState(StrEnum):
    """How far the purchase of a domain is."""

    REQUESTED = "requested"
    #: The registrar is being asked, or is at it.
    REGISTERING = "registering"
    REGISTERED = "registered"
    FAILED = "failed"


class DkimState(StrEnum):
    """Lifecycle of a DKIM key; its record is published in all of them."""

    PENDING = "pending"
    ACTIVE = "active"
    RETIRED = "retired"


class Zone(Row, table=True):
    """A DNS zone that we may update (RFC 2136 with TSIG).

    Only domains of its workspace are published in it; without one it is the fleet's own.
    Otherwise one tenant could have us prove another tenant's domain.
    """

    name: str = Field(unique=True)
    workspace_id: UUID | None = Field(default=None, foreign_key="workspace.id")
    server: str
    port: int = 53
    tsig_name: str
    tsig_algorithm: str = "hmac-sha256"
    tsig_secret: str


class Domain(Row, table=True):
    """A tenant's domain, or (``workspace_id`` None) the name of a host.

    One of a cluster (``cluster_id``) is sent from, through that cluster alone, and receives no
    mail; its workspace may have it in several clusters, and beside them for mailboxes.
    ``verified_at`` is set when ownership was seen in DNS, and is never taken back by Unknown.
    """

    __table_args__ = (
        Index(
            "uq_domain_proven",
            "name",
            unique=True,
            sqlite_where=text(_PROVEN),
            postgresql_where=text(_PROVEN),
        ),
        Index(
            "uq_domain_workspace_name",
            "workspace_id",
            "name",
            unique=True,
            sqlite_where=text(_OWN),
            postgresql_where=text(_OWN),
        ),
        Index(
            "uq_domain_cluster_name",
            "cluster_id",
            "name",
            unique=True,
            sqlite_where=text("deleted_at IS NULL"),
            postgresql_where=text("deleted_at IS NULL"),
        ),
    )

    name: str = Field(index=True)
    workspace_id: UUID | None = Field(default=None, foreign_key="workspace.id", index=True)
    host_id: UUID | None = Field(default=None, foreign_key="host.id", index=True)
    cluster_id: UUID | None = Field(default=None, foreign_key="cluster.id")
    mode: DomainMode = Field(default=DomainMode.BYO, sa_type=as_text(DomainMode))
    verified_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    checked_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    #: When DNS is looked at next; a change sets it to now.
    dns_due_at: datetime = Field(default_factory=utcnow, sa_type=UtcDateTime, index=True)
    deleted_at: datetime | None = Field(default=None, sa_type=UtcDateTime)


class Registration(Row, table=True):
    """The purchase of a domain for a workspace, kept as long as we pay for it.

    It outlives the domain: what was deleted here is ours at the registry until it expires.
    """

    __table_args__ = (
        Index(
            "uq_registration_held",
            "name",
            unique=True,
            sqlite_where=text("state <> 'failed'"),
            postgresql_where=text("state <> 'failed'"),
        ),
    )

    name: str
    workspace_id: UUID = Field(foreign_key="workspace.id", index=True)
    state: RegistrationState = Field(
        default=RegistrationState.REQUESTED, sa_type=as_text(RegistrationState)
    )
    years: int
    #: Our transaction's name at the registrar, made before the first request.
    reference: str
    expires_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    #: Why it failed, or what the last attempt met.
    reason: str = ""
    failures: int = 0
    due_at: datetime = Field(default_factory=utcnow, sa_type=UtcDateTime, index=True)


class DkimKey(Row, table=True):
    """A signing key; ``private_key`` is encrypted, ``public_key`` is the record's ``p=``."""

    __table_args__ = (
        Index(
            "uq_dkimkey_pending",
            "domain_id",
            unique=True,
            sqlite_where=text("state = 'pending'"),
            postgresql_where=text("state = 'pending'"),
        ),
    )

    domain_id: UUID = Field(foreign_key="domain.id", index=True)
    selector: str
    private_key: str
    public_key: str
    state: DkimState = Field(default=DkimState.PENDING, sa_type=as_text(DkimState))
    #: Since when the record was seen at every look; it is the new key's time of probation.
    seen_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    #: Since when hosts are told to sign with it.
    activated_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    #: Since when no host signs with it any more; until then a retired key still may.
    retired_at: datetime | None = Field(default=None, sa_type=UtcDateTime)


class PublishedRecord(Row, table=True):
    """A record that we wrote into a zone, until it is withdrawn from there.

    The subject is the domain, host or address that it is for; it may be gone already. An SPF
    record is kept address by address, because we share it with the tenant.
    """

    __table_args__ = (UniqueConstraint("zone_id", "name", "type", "value"),)

    zone_id: UUID = Field(foreign_key="zone.id")
    subject_id: UUID = Field(index=True)
    purpose: Purpose = Field(sa_type=as_text(Purpose))
    type: str
    name: str
    value: str
    #: When it goes, because nobody expects it any more.
    withdraw_at: datetime | None = Field(default=None, sa_type=UtcDateTime, index=True)
