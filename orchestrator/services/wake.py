"""Waking the reconciler: what must be looked at again is due now. It polls, so this is all."""

from collections.abc import Collection
from uuid import UUID

from sqlmodel import Session, col, select, update

from orchestrator.models import Address, AddressState, Domain, Host, utcnow


def wake(session: Session, host_ids: Collection[UUID]) -> None:
    """The hosts must be other than they are."""
    if host_ids:
        hosts = update(Host).where(col(Host.id).in_(host_ids))
        session.exec(hosts.values(due_at=utcnow()))


def wake_workspace(session: Session, workspace_id: UUID) -> None:
    """All hosts that carry an address of the workspace must be other than they are."""
    carrying = select(Address.host_id).where(
        Address.workspace_id == workspace_id, Address.state == AddressState.ASSIGNED
    )
    wake(session, set(session.exec(carrying)))


def wake_dns(session: Session, workspace_id: UUID) -> None:
    """The records of the workspace's domains have changed: its hosts, its addresses."""
    domains = update(Domain).where(
        col(Domain.workspace_id) == workspace_id, col(Domain.deleted_at).is_(None)
    )
    session.exec(domains.values(dns_due_at=utcnow()))
