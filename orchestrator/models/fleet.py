"""The fleet: hosts, the addresses that they carry, and what was pushed to them."""

from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import JSON, BigInteger
from sqlmodel import Field

from orchestrator.conditions import Reason
from orchestrator.models.base import Row, UtcDateTime, as_text, utcnow


class AddressState(StrEnum):
    """Lifecycle of a dedicated IP."""

    #: Not seen yet with its PTR and on no blocklist.
    NEW = "new"
    FREE = "free"
    ASSIGNED = "assigned"
    COOLDOWN = "cooldown"
    QUARANTINED = "quarantined"


class ReleaseState(StrEnum):
    """How far a release of the templates is."""

    CANARY = "canary"
    ROLLING = "rolling"
    DONE = "done"
    FAILED = "failed"
    SUPERSEDED = "superseded"


class Release(Row, table=True):
    """One set of templates on its way to the fleet, with its texts: any host can be rendered."""

    #: Counts up: the highest is what all hosts shall come to have.
    number: int = Field(unique=True)
    digest: str
    #: Text by name.
    templates: dict[str, str] = Field(sa_type=JSON)
    state: ReleaseState = Field(sa_type=as_text(ReleaseState))
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
    #: When the backup was made that it was restored from, until somebody has looked at what it is.
    restored_from: datetime | None = Field(default=None, sa_type=UtcDateTime)
    #: Takes no new addresses, mailboxes or MX records; what it has is served on.
    draining: bool = False
    #: The cluster that it is an MTA of, and since when.
    cluster_id: UUID | None = Field(default=None, foreign_key="cluster.id", index=True)
    joined_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    #: Since when it leaves the cluster: it takes no submissions, and sends on what it has.
    leaving_since: datetime | None = Field(default=None, sa_type=UtcDateTime)
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


class Address(Row, table=True):
    """One dedicated IP, carried by one host; ``ptr_name`` is its PTR and EHLO name."""

    ip: str = Field(unique=True)
    version: int
    ptr_name: str = Field(unique=True)
    host_id: UUID = Field(foreign_key="host.id", index=True)
    state: AddressState = Field(default=AddressState.NEW, sa_type=as_text(AddressState))
    workspace_id: UUID | None = Field(default=None, foreign_key="workspace.id", index=True)
    allocated_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    released_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    #: When egress is proven next.
    egress_due_at: datetime = Field(default_factory=utcnow, sa_type=UtcDateTime, index=True)
    reputation_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    #: The blocklists that list it; None when none does.
    reputation_flags: list[str] | None = Field(default=None, sa_type=JSON(none_as_null=True))
    #: When blocklists are asked about it next.
    reputation_due_at: datetime = Field(default_factory=utcnow, sa_type=UtcDateTime, index=True)
    quarantine_reason: str = ""
    #: An operator put it there: nobody else takes it out.
    quarantined_by_hand: bool = False
    #: Since when no blocklist lists it, while it is quarantined.
    delisted_at: datetime | None = Field(default=None, sa_type=UtcDateTime)


class AddressEventKind(StrEnum):
    """What happened to a dedicated IP."""

    ADDED = "added"
    CHECKED = "checked"
    ASSIGNED = "assigned"
    RELEASED = "released"
    COOLED_DOWN = "cooled_down"
    MOVED = "moved"
    LISTED = "listed"
    DELISTED = "delisted"
    QUARANTINED = "quarantined"
    UNQUARANTINED = "unquarantined"
    PTR_SEEN = "ptr_seen"
    PTR_LOST = "ptr_lost"
    PTR_CHANGED = "ptr_changed"
    REMOVED = "removed"


class AddressEvent(Row, table=True):
    """Something that happened to a dedicated IP.

    It names address, host and workspace by their text: it outlives all three.
    """

    ip: str = Field(index=True)
    kind: AddressEventKind = Field(sa_type=as_text(AddressEventKind))
    host: str
    workspace: str | None = None
    detail: str = ""


class Run(Row, table=True):
    """One pass over one host that changed or failed something. Holds no secret.

    Its id stands in every line that the pass logged.
    """

    host_id: UUID = Field(foreign_key="host.id", index=True)
    generation: int
    #: The reconciler that did it: machine and process.
    owner: str = ""
    outcome: str
    reason: Reason | None = Field(default=None, sa_type=as_text(Reason))
    message: str = ""
    plan: list[dict[str, Any]] = Field(default_factory=list, sa_type=JSON)
    #: Step name to milliseconds.
    timings: dict[str, float] = Field(default_factory=dict, sa_type=JSON)
