"""The state of everything, as an operator reads it: subjects with their conditions."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlmodel import Session, col, select

from orchestrator.conditions import REMEDIES, Reason, Status, Type
from orchestrator.models import Address, AddressState, Condition, Domain, Host

EXPECTED = {
    "host": (Type.REACHABLE, Type.CONVERGED, Type.RECORDS_PUBLISHED, Type.PTR_CONFIRMED),
    "address": (Type.PTR_CONFIRMED, Type.EGRESS_PROVEN),
    "domain": (
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
    """One condition of one subject (``kind`` is host, address or domain)."""

    kind: str
    subject: str
    type: Type
    status: Status
    reason: Reason
    message: str
    since: datetime | None

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


def lines(session: Session) -> list[Line]:
    """Every expected condition of every host, address and domain, by kind and name."""
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
    system = set(session.exec(select(Domain.id).where(col(Domain.host_id).is_not(None))))
    return [
        _line(kind, name, type_, seen.get((key, type_)))
        for kind, name, key in subjects
        for type_ in EXPECTED[kind]
        # A host's own name receives no tenant's mail, and is vouched for by the operator.
        if not (key in system and type_ in (Type.MX_OK, Type.OWNERSHIP_PROVEN))
    ]


def _line(kind: str, name: str, type_: Type, row: Condition | None) -> Line:
    if row is None:
        return Line(kind, name, type_, Status.UNKNOWN, Reason.NOT_YET_CHECKED, "", None)
    return Line(kind, name, type_, row.status, row.reason, row.message, row.transition_at)
