"""How far an order is, derived from what was observed of domains and hosts."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from sqlmodel import Session, col, select

from orchestrator.dns.records import OWNERSHIP_LABEL
from orchestrator.models import (
    Address,
    AddressState,
    Domain,
    DomainMode,
    Host,
    Mailbox,
    Order,
    OrderKind,
    OrderStatus,
    Registration,
    RegistrationState,
)


class Verdict(NamedTuple):
    """How far an order is: while pending, what is waited for; when it failed, why."""

    status: OrderStatus
    reason: str


PROVISIONED = Verdict(OrderStatus.PROVISIONED, "")


def judge(session: Session, order: Order) -> Verdict:
    """How far the order is."""
    if order.settled_at is not None:
        return Verdict(order.status, order.reason)
    match order.kind:
        case OrderKind.DOMAIN:
            return _domain(session, order)
        case OrderKind.ADDRESSES:
            return _addresses(session, order)
        case OrderKind.MAILBOXES:
            return _mailboxes(session, order)


def _domain(session: Session, order: Order) -> Verdict:
    name = order.detail["domain"]
    # The one that the order made: a domain of that name may have been deleted and added again.
    rows = select(Domain).where(
        Domain.workspace_id == order.workspace_id,
        Domain.name == name,
        col(Domain.cluster_id).is_(None),
        col(Domain.created_at) <= order.created_at,
    )
    domain = session.exec(rows.order_by(col(Domain.created_at).desc())).first()
    if domain is None or domain.deleted_at is not None:
        return _failed(f"{name} was deleted before it was provisioned")
    unproven = _unproven(session, domain)
    if unproven is not None:
        return unproven
    assert domain.verified_at is not None
    return _applied(_hosts(session, order.workspace_id), domain.verified_at)


def _unproven(session: Session, domain: Domain) -> Verdict | None:
    if domain.verified_at is not None:
        return None
    others = select(Domain.id).where(
        Domain.name == domain.name,
        Domain.workspace_id != domain.workspace_id,
        col(Domain.verified_at).is_not(None),
        col(Domain.deleted_at).is_(None),
    )
    if session.exec(others).first() is not None:
        return _failed(f"{domain.name} has been proven by another workspace")
    if domain.mode is DomainMode.BUY:
        return _unbought(session, domain)
    return _pending(f"waiting for the TXT record {OWNERSHIP_LABEL}.{domain.name} in DNS")


def _unbought(session: Session, domain: Domain) -> Verdict:
    rows = select(Registration).where(
        Registration.name == domain.name, Registration.workspace_id == domain.workspace_id
    )
    bought = session.exec(rows.order_by(col(Registration.created_at).desc())).first()
    match bought and bought.state:
        case RegistrationState.FAILED:
            assert bought is not None
            return _failed(f"{domain.name} could not be bought: {bought.reason}")
        case RegistrationState.REGISTERED:
            return _pending(f"waiting for the records of {domain.name} in DNS")
        case _:
            return _pending(f"waiting for the registrar of {domain.name}")


def _addresses(session: Session, order: Order) -> Verdict:
    rows = select(Address, Host).join(Host, col(Host.id) == col(Address.host_id))
    mine = rows.where(
        Address.workspace_id == order.workspace_id,
        Address.state == AddressState.ASSIGNED,
        col(Address.allocated_at) <= order.created_at,
        col(Address.ip).in_(order.detail["ips"]),
    )
    held = session.exec(mine).all()
    if not held:
        return _failed("the addresses were released before they were provisioned")
    return _applied([host for _, host in held], order.created_at)


def _mailboxes(session: Session, order: Order) -> Verdict:
    rows = (
        select(Mailbox, Domain, Host)
        .join(Domain, col(Domain.id) == col(Mailbox.domain_id))
        .join(Address, col(Address.id) == col(Mailbox.address_id))
        .join(Host, col(Host.id) == col(Address.host_id))
        .where(
            Mailbox.workspace_id == order.workspace_id,
            col(Mailbox.email).in_(order.detail["emails"]),
            col(Mailbox.deleted_at).is_(None),
            col(Mailbox.created_at) <= order.created_at,
        )
    )
    held = session.exec(rows.order_by(Mailbox.email)).all()
    if not held:
        return _failed("the mailboxes were deleted before they were provisioned")
    for _, domain, _ in held:
        unproven = _unproven(session, domain)
        if unproven is not None:
            return unproven
    proven = [domain.verified_at for _, domain, _ in held if domain.verified_at is not None]
    return _applied([host for _, _, host in held], max(order.created_at, *proven))


def _hosts(session: Session, workspace_id: UUID) -> Sequence[Host]:
    carrying = select(Address.host_id).where(
        Address.workspace_id == workspace_id, Address.state == AddressState.ASSIGNED
    )
    return session.exec(select(Host).where(col(Host.id).in_(carrying))).all()


def _applied(hosts: Iterable[Host], since: datetime) -> Verdict:
    """Whether every host was seen as wanted since then. Tenants know no hosts: they are counted."""
    applied = {host.id: host.applied_at is not None and host.applied_at > since for host in hosts}
    if not applied:
        return _pending("waiting for a dedicated IP")
    behind = list(applied.values()).count(False)
    if behind:
        return _pending(f"waiting for {behind} of {len(applied)} mail servers")
    return PROVISIONED


def _pending(reason: str) -> Verdict:
    return Verdict(OrderStatus.PENDING_PROVISION, reason)


def _failed(reason: str) -> Verdict:
    return Verdict(OrderStatus.FAILED, reason)
