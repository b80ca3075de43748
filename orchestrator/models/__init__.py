"""The tables. No behaviour: rules live in ``services``, observation in ``reconciler``."""

from orchestrator.models.base import Row, UtcDateTime, utcnow
from orchestrator.models.certificates import AcmeAccount, Certificate, Issuance
from orchestrator.models.fleet import Address, AddressState, Host, Release, ReleaseState, Run
from orchestrator.models.moves import Move, MovePhase, Relocation, RelocationState
from orchestrator.models.naming import DkimKey, DkimState, Domain, DomainMode, PublishedRecord, Zone
from orchestrator.models.observed import Condition, EgressProbe
from orchestrator.models.tenants import (
    Alias,
    ApiKey,
    Mailbox,
    Order,
    OrderKind,
    OrderStatus,
    Workspace,
)

__all__ = [
    "AcmeAccount",
    "Address",
    "AddressState",
    "Alias",
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
