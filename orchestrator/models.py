"""The tables. No behaviour: rules live in ``services``, observation in ``reconciler``."""

from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, cast
from uuid import UUID

from sqlalchemy import JSON, BigInteger, DateTime, Enum, Index, MetaData, UniqueConstraint, text
from sqlalchemy.engine import Dialect
from sqlalchemy.types import TypeDecorator
from sqlmodel import Field, SQLModel
from uuid_utils.compat import uuid7

from orchestrator.conditions import Reason, Status, Type
from orchestrator.dns.records import Purpose
from orchestrator.settings import CertificateSource

SQLModel.metadata.naming_convention = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
).naming_convention


def utcnow() -> datetime:
    """The present, with its time zone."""
    return datetime.now(UTC)


class UtcDateTime(TypeDecorator[datetime]):
    """A point in time: SQLite forgets the zone, so UTC is put back when it is read."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """To the database: always UTC."""
        return None if value is None else value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """From the database: always with a zone."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


def _as_text(enum: type[StrEnum]) -> type[Any]:
    # Plain text with the enum's values: a new reason must not need a migration.
    column_type = Enum(
        enum,
        native_enum=False,
        create_constraint=False,
        length=32,
        values_callable=lambda members: [member.value for member in members],
    )
    return cast(type[Any], column_type)


class AddressState(StrEnum):
    """Lifecycle of a dedicated IP."""

    FREE = "free"
    ASSIGNED = "assigned"
    COOLDOWN = "cooldown"
    QUARANTINED = "quarantined"


class DomainMode(StrEnum):
    """Whether the tenant brings the domain or we buy it for them."""

    BYO = "byo"
    BUY = "buy"


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


class DkimState(StrEnum):
    """Lifecycle of a DKIM key; its record is published in all of them."""

    PENDING = "pending"
    ACTIVE = "active"
    RETIRED = "retired"


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


class ReleaseState(StrEnum):
    """How far a release of the templates is."""

    CANARY = "canary"
    ROLLING = "rolling"
    DONE = "done"
    FAILED = "failed"
    SUPERSEDED = "superseded"


class Row(SQLModel):
    """What every table has."""

    id: UUID = Field(default_factory=uuid7, primary_key=True)
    created_at: datetime = Field(default_factory=utcnow, sa_type=UtcDateTime)


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
    revoked_at: datetime | None = Field(default=None, sa_type=UtcDateTime)


class Order(Row, table=True):
    """A request that costs money or inventory."""

    __tablename__ = "orders"

    workspace_id: UUID = Field(foreign_key="workspace.id", index=True)
    kind: OrderKind = Field(sa_type=_as_text(OrderKind))
    status: OrderStatus = Field(
        default=OrderStatus.PENDING_PROVISION, sa_type=_as_text(OrderStatus)
    )
    detail: dict[str, Any] = Field(default_factory=dict, sa_type=JSON)


class Release(Row, table=True):
    """One set of templates on its way to the fleet, with its texts: any host can be rendered."""

    #: Counts up: the highest is what all hosts shall come to have.
    number: int = Field(unique=True)
    digest: str
    #: Text by name.
    templates: dict[str, str] = Field(sa_type=JSON)
    state: ReleaseState = Field(sa_type=_as_text(ReleaseState))
    #: When it came to be in that state.
    since: datetime = Field(default_factory=utcnow, sa_type=UtcDateTime)
    #: Since when every canary is converged with it.
    proving_since: datetime | None = Field(default=None, sa_type=UtcDateTime)
    #: The host that stopped it, and why.
    failed_host: str | None = None
    message: str = ""


class Host(Row, table=True):
    """An MTA: an ordinary Debian host reached over SSH as root."""

    name: str = Field(unique=True)
    hostname: str = Field(unique=True)
    address: str
    ssh_port: int = 22
    ssh_user: str = "root"
    #: ``known_hosts`` form: ``ssh-ed25519 AAAA…``, recorded at enrolment.
    host_key: str
    #: Filled by the first probe: ``debian12`` or ``debian13``.
    os: str | None = None
    paused: bool = False
    pause_reason: str = ""
    #: Takes no new addresses, mailboxes or MX records; what it has is served on.
    draining: bool = False
    #: When the next pass is due; a committed change sets it to now.
    due_at: datetime = Field(default_factory=utcnow, sa_type=UtcDateTime, index=True)
    #: When its names, and those of its addresses, are looked at in DNS next.
    dns_due_at: datetime = Field(default_factory=utcnow, sa_type=UtcDateTime, index=True)
    lease_owner: str | None = None
    lease_until: datetime | None = Field(default=None, sa_type=UtcDateTime)
    failures: int = 0
    #: Rises with every applied state; the host refuses one that is not newer than its own.
    generation: int = 0
    applied_digest: str | None = None
    applied_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    #: The templates that it is rendered with, and those that the last pass found or left there.
    release_id: UUID | None = Field(default=None, foreign_key="release.id")
    seen_release_id: UUID | None = Field(default=None, foreign_key="release.id")
    #: As the last probe saw them: messages in the queue, load of one minute for each processor,
    #: least free space in KiB, and seconds by which its clock is ahead of ours.
    queue: int | None = None
    load: float | None = None
    free_kib: int | None = Field(default=None, sa_type=BigInteger)
    clock_skew: float | None = None


class Certificate(Row, table=True):
    """A host's TLS certificate; ``names`` are its DNS names and IPs, the host's own first."""

    host_id: UUID = Field(foreign_key="host.id", index=True)
    source: CertificateSource = Field(sa_type=_as_text(CertificateSource))
    names: list[str] = Field(sa_type=JSON)
    chain: str
    private_key: str
    not_after: datetime = Field(sa_type=UtcDateTime)
    #: From then on a new one is asked for.
    renew_at: datetime = Field(sa_type=UtcDateTime)


class Issuance(Row, table=True):
    """How a host's next certificate comes about; one for each host that has a first one."""

    host_id: UUID = Field(foreign_key="host.id", unique=True)
    #: Of whom and for which DNS names it was last asked; other wishes are asked at once.
    source: CertificateSource = Field(sa_type=_as_text(CertificateSource))
    names: list[str] = Field(sa_type=JSON)
    #: When it is seen to next. Who sees to it moves this ahead first, so that nobody else does.
    due_at: datetime = Field(default_factory=utcnow, sa_type=UtcDateTime, index=True)
    #: In a row, with what the last of them said.
    failures: int = 0
    reason: Reason | None = Field(default=None, sa_type=_as_text(Reason))
    message: str = ""


class AcmeAccount(Row, table=True):
    """Our account at an ACME server: its key, encrypted. The server knows the rest by it."""

    directory_url: str = Field(unique=True)
    private_key: str


class Address(Row, table=True):
    """One dedicated IP, carried by one host; ``ptr_name`` is its PTR and EHLO name."""

    ip: str = Field(unique=True)
    version: int
    ptr_name: str = Field(unique=True)
    host_id: UUID = Field(foreign_key="host.id", index=True)
    state: AddressState = Field(default=AddressState.FREE, sa_type=_as_text(AddressState))
    workspace_id: UUID | None = Field(default=None, foreign_key="workspace.id", index=True)
    allocated_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    released_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    #: When egress is proven next.
    egress_due_at: datetime = Field(default_factory=utcnow, sa_type=UtcDateTime, index=True)
    reputation_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    reputation_flags: list[str] | None = Field(default=None, sa_type=JSON)


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

    ``verified_at`` is set when ownership was seen in DNS, and is never taken back by Unknown.
    """

    __table_args__ = (
        Index(
            "uq_domain_proven",
            "name",
            unique=True,
            sqlite_where=text("verified_at IS NOT NULL AND deleted_at IS NULL"),
            postgresql_where=text("verified_at IS NOT NULL AND deleted_at IS NULL"),
        ),
        Index(
            "uq_domain_workspace_name",
            "workspace_id",
            "name",
            unique=True,
            sqlite_where=text("deleted_at IS NULL"),
            postgresql_where=text("deleted_at IS NULL"),
        ),
    )

    name: str = Field(index=True)
    workspace_id: UUID | None = Field(default=None, foreign_key="workspace.id", index=True)
    host_id: UUID | None = Field(default=None, foreign_key="host.id", index=True)
    mode: DomainMode = Field(default=DomainMode.BYO, sa_type=_as_text(DomainMode))
    verified_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    checked_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    #: When DNS is looked at next; a change sets it to now.
    dns_due_at: datetime = Field(default_factory=utcnow, sa_type=UtcDateTime, index=True)
    deleted_at: datetime | None = Field(default=None, sa_type=UtcDateTime)


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
    state: DkimState = Field(default=DkimState.PENDING, sa_type=_as_text(DkimState))
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
    purpose: Purpose = Field(sa_type=_as_text(Purpose))
    type: str
    name: str
    value: str
    #: When it goes, because nobody expects it any more.
    withdraw_at: datetime | None = Field(default=None, sa_type=UtcDateTime, index=True)


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
    )

    workspace_id: UUID = Field(foreign_key="workspace.id", index=True)
    domain_id: UUID = Field(foreign_key="domain.id", index=True)
    address_id: UUID = Field(foreign_key="address.id", index=True)
    email: str
    password: str
    password_hash: str
    quota_mib: int
    deleted_at: datetime | None = Field(default=None, sa_type=UtcDateTime)


class Move(Row, table=True):
    """The mail of one address on its way to another host's address of the same workspace."""

    workspace_id: UUID = Field(foreign_key="workspace.id", index=True)
    source_id: UUID = Field(foreign_key="address.id", index=True)
    target_id: UUID = Field(foreign_key="address.id", index=True)
    #: Whether the target came out of the pool for this move.
    target_taken: bool
    #: Whether it goes on without having seen the new records in DNS.
    ignore_dns: bool = False
    phase: MovePhase = Field(default=MovePhase.PREPARING, sa_type=_as_text(MovePhase))
    #: A moment after its last change was committed; None until the mover has seen that change.
    settling_since: datetime | None = Field(default=None, sa_type=UtcDateTime)
    #: Since when DNS no longer names the source.
    unnamed_since: datetime | None = Field(default=None, sa_type=UtcDateTime)
    #: When it is taken up next, which is also until when a mover has claimed it.
    due_at: datetime = Field(default_factory=utcnow, sa_type=UtcDateTime, index=True)
    #: The latest claim; an older one may change nothing any more.
    claim: str = ""
    failures: int = 0
    reason: Reason | None = Field(default=None, sa_type=_as_text(Reason))
    message: str = ""
    ended_at: datetime | None = Field(default=None, sa_type=UtcDateTime)


class Relocation(Row, table=True):
    """One mailbox of a move."""

    __table_args__ = (UniqueConstraint("move_id", "mailbox_id"),)

    move_id: UUID = Field(foreign_key="move.id")
    mailbox_id: UUID = Field(foreign_key="mailbox.id", index=True)
    state: RelocationState = Field(
        default=RelocationState.WAITING, sa_type=_as_text(RelocationState)
    )
    #: Messages that the last copy held, once there was one.
    messages: int | None = None
    #: Digest of what the old host held of it when it went over.
    listing: str | None = None


class Condition(Row, table=True):
    """What was last observed of a subject (a host, an address or a domain)."""

    __table_args__ = (UniqueConstraint("subject_id", "type"),)

    subject_id: UUID
    type: Type = Field(sa_type=_as_text(Type))
    status: Status = Field(sa_type=_as_text(Status))
    #: The last status that was not Unknown; None until something was seen.
    known: Status | None = Field(default=None, sa_type=_as_text(Status))
    reason: Reason = Field(sa_type=_as_text(Reason))
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


class Run(Row, table=True):
    """One pass over one host that changed or failed something. Holds no secret.

    Its id stands in every line that the pass logged.
    """

    host_id: UUID = Field(foreign_key="host.id", index=True)
    generation: int
    #: The reconciler that did it: machine and process.
    owner: str = ""
    outcome: str
    reason: Reason | None = Field(default=None, sa_type=_as_text(Reason))
    message: str = ""
    plan: list[dict[str, Any]] = Field(default_factory=list, sa_type=JSON)
    #: Step name to milliseconds.
    timings: dict[str, float] = Field(default_factory=dict, sa_type=JSON)
