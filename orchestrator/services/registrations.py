"""Domains that we buy for workspaces: what is wanted, and how far each purchase is."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import Engine
from sqlmodel import Session, col, select

from orchestrator import wakeup
from orchestrator.conditions import Reason, Status, Type
from orchestrator.db import reading
from orchestrator.errors import Conflict, Invalid, NotFound
from orchestrator.models import (
    Domain,
    DomainMode,
    Registration,
    RegistrationState,
    Workspace,
    utcnow,
)
from orchestrator.registrars.eppwire import reference
from orchestrator.registrars.registrar import Registrar
from orchestrator.services import conditions, validation
from orchestrator.services.rows import unique
from orchestrator.settings import RegistrarKind, Settings

_OPEN = (RegistrationState.REQUESTED, RegistrationState.REGISTERING)


@dataclass(frozen=True)
class Purchase:
    """A registration, as an operator reads it."""

    name: str
    workspace: str
    state: RegistrationState
    expires_at: datetime | None
    reference: str
    reason: str

    def as_dict(self) -> dict[str, Any]:
        """For tables and JSON."""
        return {
            "name": self.name,
            "workspace": self.workspace,
            "state": str(self.state),
            "expires_at": self.expires_at.isoformat() if self.expires_at else None,
            "reference": self.reference,
            "reason": self.reason,
        }


def offer(engine: Engine, registrar: Registrar | None, workspace: Workspace, name: str) -> None:
    """See that the workspace can buy a name. It asks the registrar: never in a transaction.

    :raises Invalid: when this installation buys no domains.
    :raises Conflict: when the name is taken.
    :raises Away: when the registrar can't be asked now.
    """
    name = validation.fqdn(name)
    if registrar is None:
        raise Invalid("mode buy is not offered by this installation", field="mode")
    with reading(engine) as session:
        held = _held(session, name)
    if held is not None and held.workspace_id == workspace.id:
        return
    if held is not None or not registrar.check(name):
        raise Conflict(f"{name} is registered already")


def request(session: Session, settings: Settings, workspace: Workspace, name: str) -> None:
    """Have a name bought; one that the workspace had bought before is its again.

    :raises Invalid: when this installation buys no domains.
    :raises Conflict: when another workspace has it.
    """
    if settings.registrar is RegistrarKind.NONE:
        raise Invalid("mode buy is not offered by this installation", field="mode")
    if look_again(session, workspace, name):
        return
    row = Registration(
        name=name,
        workspace_id=workspace.id,
        years=settings.registration_years,
        reference=reference(),
    )
    with unique(session, f"{name} is registered already"):
        session.add(row)
    wakeup.request(session)


def look_again(session: Session, workspace: Workspace, name: str) -> bool:
    """Look now at what the workspace has bought, if it has the name: it is wanted, or no longer."""
    held = _held(session, name)
    if held is None or held.workspace_id != workspace.id:
        return False
    held.due_at = utcnow()
    session.add(held)
    wakeup.request(session)
    return True


def _held(session: Session, name: str) -> Registration | None:
    rows = select(Registration).where(
        Registration.name == name, Registration.state != RegistrationState.FAILED
    )
    return session.exec(rows).first()


def domain_of(session: Session, row: Registration) -> Domain | None:
    """The living domain that a registration is for; None once the tenant has deleted it."""
    rows = select(Domain).where(
        Domain.workspace_id == row.workspace_id,
        Domain.name == row.name,
        Domain.mode == DomainMode.BUY,
        col(Domain.deleted_at).is_(None),
    )
    return session.exec(rows).first()


def list_(session: Session) -> list[Purchase]:
    """All of them, oldest first."""
    rows = select(Registration, Workspace.slug).join(
        Workspace, col(Workspace.id) == col(Registration.workspace_id)
    )
    return [
        Purchase(row.name, slug, row.state, row.expires_at, row.reference, row.reason)
        for row, slug in session.exec(rows.order_by(col(Registration.id)))
    ]


def get(session: Session, name: str) -> Registration:
    """The registration of that name that has not failed."""
    row = _held(session, validation.fqdn(name))
    if row is None:
        raise NotFound(f"nobody has {name} bought")
    return row


def due(session: Session, now: datetime) -> list[UUID]:
    """Those that are to be looked at."""
    rows = select(Registration.id).where(
        Registration.due_at <= now, Registration.state != RegistrationState.FAILED
    )
    return list(session.exec(rows.order_by(col(Registration.due_at))))


def pending(session: Session, row: Registration, seconds: float, why: str) -> None:
    """The registrar has taken the request on; look again after so many seconds."""
    row.state = RegistrationState.REGISTERING
    put_off(session, row, seconds, why)


def put_off(session: Session, row: Registration, seconds: float, why: str) -> None:
    """It is as it was; look again after so many seconds."""
    row.reason = why
    row.due_at = utcnow() + timedelta(seconds=seconds)
    session.add(row)
    if row.state in _OPEN:
        _tell(session, row, Status.UNKNOWN, Reason.REGISTRATION_PENDING)


def registered(session: Session, row: Registration, expires_at: datetime, seconds: float) -> None:
    """The name is ours until then; look again after so many seconds."""
    row.state = RegistrationState.REGISTERED
    row.expires_at = expires_at
    row.failures = 0
    put_off(session, row, seconds, "")
    _tell(session, row, Status.TRUE, Reason.OBSERVED)


def failed(session: Session, row: Registration, why: str) -> None:
    """The name won't be ours, or is no longer."""
    row.state = RegistrationState.FAILED
    row.reason = why
    session.add(row)
    _tell(session, row, Status.FALSE, Reason.REGISTRATION_FAILED)


def done_by_hand(session: Session, name: str, expires_at: datetime) -> Registration:
    """The operator has bought or renewed the name.

    :raises Invalid: when it has expired by then.
    """
    if expires_at <= utcnow():
        raise Invalid("expires is in the past", field="expires")
    row = get(session, name)
    registered(session, row, expires_at, 0)
    wakeup.request(session)
    return row


def failed_by_hand(session: Session, name: str, why: str) -> Registration:
    """The operator could not buy the name.

    :raises Conflict: when it is bought already.
    """
    row = get(session, name)
    if row.state not in _OPEN:
        raise Conflict(f"{row.name} is registered: delete the domain, and let it expire")
    failed(session, row, validation.display_name(why, field="reason"))
    return row


def _tell(session: Session, row: Registration, status: Status, reason: Reason) -> None:
    domain = domain_of(session, row)
    if domain is not None:
        conditions.set_(session, domain.id, Type.REGISTERED, status, reason, row.reason)
