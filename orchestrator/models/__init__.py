"""The tables. No behaviour: rules live in ``services``, observation in ``reconciler``."""

from orchestrator.models.base import Row, UtcDateTime, utcnow
from orchestrator.models.certificates import AcmeAccount, Certificate, Issuance
from orchestrator.models.fleet import (
    Address,
    AddressEvent,
    AddressEventKind,
    AddressState,
    Host,
    Release,
    ReleaseState,
    Run,
)
from orchestrator.models.moves import Move, MovePhase, Relocation, RelocationState
from orchestrator.models.naming import (
    DkimKey,
    DkimState,
    Domain,
    DomainMode,
    PublishedRecord,
    Registration,
    RegistrationState,
    Zone,
)
from orchestrator.models.observed import Condition, EgressProbe
from orchestrator.models.tenants import ApiKey, Mailbox, Order, OrderKind, OrderStatus, Workspace

__all__ = [
    "AcmeAccount",
    "Address",
    "AddressEvent",
    "AddressEventKind",
    "AddressState",
    "ApiKey",
    "Certificate",
    "Condition",
    "DkimKey",
    "DkimState",
    "Domain",
    "DomainMode",
    "EgressProbe",
    "Host",
    "Issuance",
    "Mailbox",
    "Move",
    "MovePhase",
    "Order",
    "OrderKind",
    "OrderStatus",
    "PublishedRecord",
    "Registration",
    "RegistrationState",
    "Release",
    "ReleaseState",
    "Relocation",
    "RelocationState",
    "Row",
    "Run",
    "UtcDateTime",
    "Workspace",
    "Zone",
    "utcnow",
]
