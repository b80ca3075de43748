"""Orders: placing the first ones, finding them, and settling them for good."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from uuid import UUID

from sqlmodel import Session, col, select

from orchestrator.errors import Invalid, NotFound
from orchestrator.models import Order, OrderStatus, Workspace
from orchestrator.secrets import Vault
from orchestrator.services import addresses, domains, mailboxes, provisioning
from orchestrator.settings import Settings

#: How many orders one answer holds at most.
MOST = 100


def first(
    session: Session,
    vault: Vault,
    settings: Settings,
    workspace: Workspace,
    *,
    ips: int,
    domain: str,
    emails: Sequence[str],
    pair: tuple[str, str],
) -> list[Order]:
    """A workspace's first order: addresses, a domain and mailboxes, all or none.

    :param pair: of ``dkim.generate``.
    :raises Invalid, Conflict, Unavailable: as each of them alone; the caller's transaction must
        then be undone.
    """
    if not 1 <= ips <= addresses.MAX_ORDER:
        raise Invalid(f"ips is not between 1 and {addresses.MAX_ORDER}", field="ips")
    made = [addresses.provide(session, workspace, ips)]
    made.append(domains.add(session, vault, settings, workspace, name=domain, pair=pair))
    if emails:
        made.append(mailboxes.create(session, vault, settings, workspace, emails))
    return made


def list_(
    session: Session, workspace: Workspace, *, limit: int = MOST, before: UUID | None = None
) -> list[Order]:
    """The workspace's orders, newest first.

    :param before: only those that are older than the order of this id.
    """
    rows = select(Order).where(Order.workspace_id == workspace.id)
    if before is not None:
        rows = rows.where(col(Order.id) < before)
    return list(session.exec(rows.order_by(col(Order.id).desc()).limit(limit)))


def get(session: Session, workspace: Workspace, order_id: UUID) -> Order:
    """One of the workspace's orders."""
    row = session.get(Order, order_id)
    if row is None or row.workspace_id != workspace.id:
        raise NotFound("there is no such order on this workspace")
    return row


def settle(session: Session, settings: Settings, now: datetime) -> None:
    """Write down what became of the orders that are provisioned, failed or too old to wait for."""
    ended = now - timedelta(days=settings.order_days)
    for order in session.exec(select(Order).where(col(Order.settled_at).is_(None))):
        status, reason = provisioning.judge(session, order)
        if status is OrderStatus.PENDING_PROVISION:
            if order.created_at > ended:
                continue
            status = OrderStatus.FAILED
            reason = f"given up after {settings.order_days:g} days of {reason}"
        order.status, order.reason, order.settled_at = status, reason, now
