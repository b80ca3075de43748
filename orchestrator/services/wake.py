"""Waking the reconcilers: what must be looked at again is due now, and they are told to look."""

from collections.abc import Collection
from uuid import UUID

from sqlmodel import Session, col, select, update

from orchestrator import wakeup
from orchestrator.models import Address, AddressState, Domain, Host, utcnow
from orchestrator.services.rows import lock


def wake(session: Session, host_ids: Collection[UUID]) -> None:
    """The hosts must be other than they are."""
    if host_ids:
        lock(session, Host, host_ids)
        hosts = update(Host).where(col(Host.id).in_(host_ids))
        session.exec(hosts.values(due_at=utcnow()))
        wakeup.request(session)


def wake_workspace(session: Session, workspace_id: UUID) -> None:
    """All hosts that carry an address of the workspace must be other than they are."""
    carrying = select(Address.host_id).where(
        Address.workspace_id == workspace_id, Address.state == AddressState.ASSIGNED
    )
    wake(session, set(session.exec(carrying)))


def wake_cluster(session: Session, cluster_id: UUID) -> None:
    """All MTAs of the cluster must be other than they are."""
    wake(session, session.exec(select(Host.id).where(Host.cluster_id == cluster_id)).all())


def wake_names(session: Session, cluster_id: UUID) -> None:
    """The name of the cluster stands for other hosts than it did."""
    rows = select(Host.id).where(Host.cluster_id == cluster_id)
    ids = session.exec(rows).all()
    lock(session, Host, ids)
    session.exec(update(Host).where(col(Host.id).in_(ids)).values(dns_due_at=utcnow()))
    wakeup.request(session)


def wake_dns(session: Session, *workspace_ids: UUID) -> None:
    """The records of the workspaces' domains have changed: their hosts, their addresses."""
    rows = select(Domain.id).where(
        col(Domain.workspace_id).in_(workspace_ids), col(Domain.deleted_at).is_(None)
    )
    ids = session.exec(rows).all()
    lock(session, Domain, ids)
    session.exec(update(Domain).where(col(Domain.id).in_(ids)).values(dns_due_at=utcnow()))
    wakeup.request(session)
