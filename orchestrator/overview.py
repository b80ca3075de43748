"""The state of everything, as an operator reads it: subjects with their conditions."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import sqlalchemy
from sqlmodel import Session, col, func, select

from orchestrator.conditions import REMEDIES, Reason, Status, Type
from orchestrator.models import (
    Address,
    AddressState,
    Condition,
    Domain,
    DomainMode,
    Host,
    Release,
    ReleaseState,
    utcnow,
)
from orchestrator.services import releases

EXPECTED = {
    "host": (
        Type.REACHABLE,
        Type.CONVERGED,
        Type.CERTIFICATE_VALID,
        Type.RECORDS_PUBLISHED,
        Type.PTR_CONFIRMED,
    ),
    "address": (Type.PTR_CONFIRMED, Type.EGRESS_PROVEN, Type.NOT_LISTED),
    "domain": (
        Type.REGISTERED,
        Type.OWNERSHIP_PROVEN,
        Type.RECORDS_PUBLISHED,
        Type.MX_OK,
        Type.SPF_OK,
        Type.DKIM_OK,
        Type.DMARC_OK,
        Type.DKIM_ROTATED,
    ),
}


@dataclass(frozen=True)
class Line:
    """One condition of one subject (``kind`` is release, host, address or domain)."""

    kind: str
    subject: str
    type: Type
    status: Status
    reason: Reason
    message: str
    since: datetime | None

    @property
    def key(self) -> tuple[str, str, Type]:
        """What tells it from other lines."""
        return self.kind, self.subject, self.type

    @property
    def remedy(self) -> str:
        """What to do about it."""
        return REMEDIES[self.reason]

    @property
    def informative(self) -> bool:
        """Whether it is no fault that this doesn't hold.

        Some zones are not ours to write, and while a new DKIM key waits the old one signs.
        """
        unmanaged = self.type is Type.RECORDS_PUBLISHED and self.reason is Reason.NOT_MANAGED
        return unmanaged or self.type is Type.DKIM_ROTATED

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "kind": self.kind,
            "subject": self.subject,
            "condition": str(self.type),
            "status": str(self.status),
            "reason": str(self.reason),
            "message": self.message,
            "since": self.since.isoformat() if self.since else None,
        }


@dataclass(frozen=True)
class Transition:
    """A condition that changed its status or its reason.

    ``was`` is None when it is new. It is ``gone`` when its subject is no longer ours.
    """

    line: Line
    was: Status | None
    gone: bool = False

    def __str__(self) -> str:
        """One line for a log."""
        line, moment = self.line, utcnow().strftime("%H:%M:%SZ")
        now = "gone" if self.gone else f"{line.status} ({line.reason})"
        before = "" if self.was is None else f"{self.was} -> "
        message = f": {line.message}" if line.message and not self.gone else ""
        return f"{moment} {line.kind} {line.subject} {line.type}: {before}{now}{message}"

    def as_dict(self) -> dict[str, Any]:
        """For JSON: the condition with ``was`` and ``gone``."""
        return {**self.line.as_dict(), "was": self.was, "gone": self.gone}


def transitions(before: Sequence[Line], after: Sequence[Line]) -> list[Transition]:
    """What changed between two answers of ``lines``."""
    old = {line.key: line for line in before}
    new = {line.key: line for line in after}
    changed = [
        Transition(line, old[key].status if key in old else None)
        for key, line in new.items()
        if key not in old or (old[key].status, old[key].reason) != (line.status, line.reason)
    ]
    gone = [Transition(line, line.status, gone=True) for key, line in old.items() if key not in new]
    return changed + gone


def stamp(session: Session) -> tuple[Any, ...]:
    """Something that differs whenever ``lines`` may: it is cheaper to compare than they are."""
    live = col(Domain.deleted_at).is_(None)
    counts = (
        select(func.count(col(Host.id))),
        select(func.count(col(Address.id))).where(Address.state != AddressState.QUARANTINED),
        select(func.count(col(Domain.id))).where(live),
        select(func.count(col(Condition.id))),
        select(func.max(Condition.observed_at)),
        select(func.max(Release.since)),
    )
    return tuple(
        session.connection()
        .execute(sqlalchemy.select(*(count.scalar_subquery() for count in counts)))
        .one()
    )


def lines(session: Session) -> list[Line]:
    """The newest release, and every expected condition of hosts, addresses and domains."""
    subjects: list[tuple[str, str, UUID]] = []
    for host in session.exec(select(Host).order_by(Host.name)):
        subjects.append(("host", host.name, host.id))
    for address in session.exec(select(Address).order_by(Address.ip)):
        if address.state is not AddressState.QUARANTINED:
            subjects.append(("address", address.ip, address.id))
    live = select(Domain).where(col(Domain.deleted_at).is_(None)).order_by(Domain.name)
    for domain in session.exec(live):
        subjects.append(("domain", domain.name, domain.id))
    seen = {(row.subject_id, row.type): row for row in session.exec(select(Condition))}
    bought = set(session.exec(select(Domain.id).where(Domain.mode == DomainMode.BUY)))
    system = set(session.exec(select(Domain.id).where(col(Domain.host_id).is_not(None))))
    sending = set(session.exec(select(Domain.id).where(col(Domain.cluster_id).is_not(None))))
    return _release(session) + [
        _line(kind, name, type_, seen.get((key, type_)))
        for kind, name, key in subjects
        for type_ in EXPECTED[kind]
        # A host's own name receives no tenant's mail, and is vouched for by the operator.
        if not (key in system and type_ in (Type.MX_OK, Type.OWNERSHIP_PROVEN))
        # A cluster's domain is proven by its key, and receives nothing.
        and not (key in sending and type_ in (Type.MX_OK, Type.OWNERSHIP_PROVEN, Type.SPF_OK))
        and (type_ is not Type.REGISTERED or key in bought)
    ]


def _release(session: Session) -> list[Line]:
    """How far the newest release of the templates is."""
    row = releases.newest(session)
    if row is None:
        return []
    match row.state:
        case ReleaseState.DONE:
            status, reason, message = Status.TRUE, Reason.OBSERVED, ""
        case ReleaseState.FAILED:
            status, reason = Status.FALSE, Reason.ROLLOUT_FAILED
            message = f"on {row.failed_host}: {row.message}"
        case state:
            status, reason, message = Status.UNKNOWN, Reason.ROLLING_OUT, str(state)
    return [Line("release", str(row.number), Type.ROLLED_OUT, status, reason, message, row.since)]


def _line(kind: str, name: str, type_: Type, row: Condition | None) -> Line:
    if row is None:
        return Line(kind, name, type_, Status.UNKNOWN, Reason.NOT_YET_CHECKED, "", None)
    return Line(kind, name, type_, row.status, row.reason, row.message, row.transition_at)
