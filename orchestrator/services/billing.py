"""What workspaces are charged for, and how they stand with the payment service."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import func
from sqlmodel import Session, SQLModel, col, select, update

from orchestrator import wakeup
from orchestrator.billing.biller import Account, Checkout, Kind
from orchestrator.models import (
    Address,
    AddressState,
    BillingAccount,
    Domain,
    Mailbox,
    Workspace,
    utcnow,
)
from orchestrator.services.rows import unique


def account(session: Session, workspace: Workspace) -> BillingAccount | None:
    """The workspace's account; None as long as nobody had to ask for one."""
    rows = select(BillingAccount).where(BillingAccount.workspace_id == workspace.id)
    return session.exec(rows).first()


def accounts(session: Session) -> list[tuple[BillingAccount, Workspace]]:
    """All accounts, by their workspaces' slugs."""
    rows = select(BillingAccount, Workspace).join(
        Workspace, col(Workspace.id) == col(BillingAccount.workspace_id)
    )
    return list(session.exec(rows.order_by(Workspace.slug)).all())


def open_(session: Session, workspace: Workspace, customer: str) -> BillingAccount:
    """Write down the workspace's customer id at the payment service.

    :raises Conflict: when another request did it meanwhile.
    """
    row = BillingAccount(workspace_id=workspace.id, customer=customer)
    with unique(session, f"{workspace.slug} has an account at the payment service already"):
        session.add(row)
    return row


def quantities(session: Session, workspace_id: UUID) -> dict[Kind, int]:
    """How many of each kind the workspace has now."""
    return {
        Kind.DOMAIN: _count(
            session,
            Domain,
            Domain.workspace_id == workspace_id,
            col(Domain.cluster_id).is_(None),
            col(Domain.deleted_at).is_(None),
        ),
        Kind.ADDRESS: _count(
            session,
            Address,
            Address.workspace_id == workspace_id,
            Address.state == AddressState.ASSIGNED,
        ),
        Kind.MAILBOX: _count(
            session,
            Mailbox,
            Mailbox.workspace_id == workspace_id,
            col(Mailbox.deleted_at).is_(None),
        ),
    }


def _count(session: Session, table: type[SQLModel], *conditions: Any) -> int:
    return session.exec(select(func.count()).select_from(table).where(*conditions)).one()


def changed(session: Session, workspace_id: UUID) -> None:
    """The workspace has other quantities now: its account is settled as soon as this is done."""
    rows = update(BillingAccount).where(col(BillingAccount.workspace_id) == workspace_id)
    if session.exec(rows.values(due_at=utcnow(), failures=0)).rowcount:
        wakeup.request(session)


def notified(session: Session, customer: str) -> None:
    """The payment service has something new to tell about a customer, who may be none of ours."""
    rows = update(BillingAccount).where(col(BillingAccount.customer) == customer)
    if session.exec(rows.values(due_at=utcnow(), failures=0)).rowcount:
        wakeup.request(session)


def ends_with_last_address(session: Session, workspace_id: UUID) -> bool:
    """Whether a subscription for addresses runs that nothing is left for."""
    rows = select(BillingAccount).where(BillingAccount.workspace_id == workspace_id)
    row = session.exec(rows).first()
    if row is None or Kind.ADDRESS not in row.subscriptions:
        return False
    return quantities(session, workspace_id)[Kind.ADDRESS] == 0


def due(session: Session, now: datetime) -> list[UUID]:
    """The accounts that are to be settled."""
    rows = select(BillingAccount.id).where(BillingAccount.due_at <= now)
    return list(session.exec(rows.order_by(col(BillingAccount.due_at))).all())


def settled(
    session: Session, seen: BillingAccount, told: Account, next_at: datetime
) -> BillingAccount:
    """Write down how it stands; due again at ``next_at``, or earlier if more has changed.

    :param seen: the account as it was before the payment service was asked.
    """
    row = session.get_one(BillingAccount, seen.id)
    row.standing = told.standing
    row.subscriptions = {
        kind.value: (sub.id, sub.quantity) for kind, sub in told.subscriptions.items()
    }
    row.settled_at, row.failures, row.message = utcnow(), 0, ""
    if row.due_at == seen.due_at:
        row.due_at = next_at
    session.add(row)
    return row


def failed(session: Session, seen: BillingAccount, message: str, next_at: datetime) -> None:
    """Write down why the account could not be settled; tried again at ``next_at``."""
    row = session.get_one(BillingAccount, seen.id)
    row.failures, row.message = row.failures + 1, message
    if row.due_at == seen.due_at:
        row.due_at = next_at
    session.add(row)


def offered(session: Session, account_id: UUID, checkout: Checkout) -> None:
    """Write down the page on which a payment method can be left."""
    row = session.get_one(BillingAccount, account_id)
    row.checkout_url, row.checkout_until = checkout.url, checkout.until
    session.add(row)


def differences(row: BillingAccount, wanted: Mapping[Kind, int]) -> dict[str, tuple[int, int]]:
    """By kind what is charged for and what there is, where these are not the same."""
    charged = {Kind(kind): quantity for kind, (_, quantity) in row.subscriptions.items()}
    return {
        kind.value: (charged.get(kind, 0), wanted.get(kind, 0))
        for kind in Kind
        if charged.get(kind, 0) != wanted.get(kind, 0)
    }
