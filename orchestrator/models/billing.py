"""What tenants pay for, as the payment service last said."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import JSON
from sqlmodel import Field

from orchestrator.billing.biller import Standing
from orchestrator.models.base import Row, UtcDateTime, as_text, utcnow


class BillingAccount(Row, table=True):
    """A workspace's account at the payment service."""

    workspace_id: UUID = Field(foreign_key="workspace.id", unique=True)
    #: The service's own id of the customer.
    customer: str = Field(unique=True)
    standing: Standing = Field(default=Standing.NO_PAYMENT_METHOD, sa_type=as_text(Standing))
    #: By kind: the subscription's id and its quantity, as last seen.
    subscriptions: dict[str, tuple[str, int]] = Field(default_factory=dict, sa_type=JSON)
    #: Where a payment method can be left, while that page is good.
    checkout_url: str | None = None
    checkout_until: datetime | None = Field(default=None, sa_type=UtcDateTime)
    #: When it is settled next. Who settles it moves this ahead first.
    due_at: datetime = Field(default_factory=utcnow, sa_type=UtcDateTime, index=True)
    settled_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    #: In a row, with what the last of them said.
    failures: int = 0
    message: str = ""
