"""The tables. No behaviour: rules live in ``services``, observation in ``reconciler``."""

from orchestrator.models.base import Row, UtcDateTime, utcnow
from orchestrator.models.billing import BillingAccount
from orchestrator.models.certificates import AcmeAccount, Certificate, Issuance
from orchestrator.models.clusters import Cluster, Credential
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
from orchestrator.models.outgoing import ScheduledMessage, ScheduledState, Template
from orchestrator.models.requests import Bucket, RateBucket, RecordedRequest
from orchestrator.models.tenants import (
    Alias,
    ApiKey,
    KeyScope,
    Mailbox,
    Order,
    OrderKind,
    OrderStatus,
    User,
    Workspace,
)

__all__ = [
    "AcmeAccount",
    "Address",
    "AddressEvent",
    "AddressEventKind",
    "AddressState",
    "Alias",
    "ApiKey",
    "BillingAccount",
    "Bucket",
    "Certificate",
    "Cluster",
    "Condition",
    "Credential",
    "DkimKey",
    "DkimState",
    "Domain",
    "DomainMode",
    "EgressProbe",
    "Host",
    "Issuance",
    "KeyScope",
    "Mailbox",
    "Move",
    "MovePhase",
    "Order",
    "OrderKind",
    "OrderStatus",
    "PublishedRecord",
    "RateBucket",
    "RecordedRequest",
    "Registration",
    "RegistrationState",
    "Release",
    "ReleaseState",
    "Relocation",
    "RelocationState",
    "Row",
    "Run",
    "ScheduledMessage",
    "ScheduledState",
    "Template",
    "User",
    "UtcDateTime",
    "Workspace",
    "Zone",
    "utcnow",
]
