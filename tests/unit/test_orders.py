"""Orders: what they wait for, what ends them, and that the end is for good."""

from datetime import timedelta

import pytest
from sqlmodel import select
from storekit import Store

from orchestrator import db, dkim
from orchestrator.errors import Conflict, Invalid, Unavailable
from orchestrator.models import (
    Domain,
    Host,
    Mailbox,
    Order,
    OrderKind,
    OrderStatus,
    Workspace,
    utcnow,
)
from orchestrator.services import addresses, domains, mailboxes, orders, provisioning, purge
from orchestrator.services.provisioning import Verdict

PENDING = OrderStatus.PENDING_PROVISION
PROVISIONED = Verdict(OrderStatus.PROVISIONED, "")
TXT = Verdict(PENDING, "waiting for the TXT record _mailfleet.acme.com in DNS")


@pytest.fixture
def acme(store: Store) -> Workspace:
    """A workspace on two hosts, with a domain, two mailboxes and two addresses on order."""
    owner = store.workspace()
    store.pool(store.host(), "198.51.100.21")
    store.pool(store.host("mx2", "198.51.100.12"), "198.51.100.31")
    with db.writing(store.engine) as session:
        orders.first(
            session,
            store.vault,
            store.settings,
            owner,
            ips=2,
            domain="acme.com",
            emails=["alice@acme.com", "bob@acme.com"],
            pair=dkim.generate(),
        )
    return owner


def verdicts(store: Store, owner: Workspace) -> dict[OrderKind, Verdict]:
    with db.reading(store.engine) as session:
        found = orders.list_(session, owner)
        return {order.kind: provisioning.judge(session, order) for order in found}


def apply(store: Store, *names: str) -> None:
    """The hosts were seen as wanted, after all that was done until now."""
    with db.writing(store.engine) as session:
        for host in session.exec(select(Host)):
            if host.name in names:
                host.applied_at = utcnow()


def prove(store: Store, owner: Workspace) -> None:
    with db.reading(store.engine) as session:
        row = domains.get_by_name(session, owner, "acme.com")
    store.prove(row)


def test_they_go_through_dns_and_all_hosts(store: Store, acme: Workspace) -> None:
    waiting = Verdict(PENDING, "waiting for 2 of 2 mail servers")
    assert verdicts(store, acme) == {
        OrderKind.ADDRESSES: waiting,
        OrderKind.DOMAIN: TXT,
        OrderKind.MAILBOXES: TXT,
    }
    apply(store, "mx1", "mx2")
    assert verdicts(store, acme) == {
        OrderKind.ADDRESSES: PROVISIONED,
        OrderKind.DOMAIN: TXT,
        OrderKind.MAILBOXES: TXT,
    }
    prove(store, acme)
    after = verdicts(store, acme)
    assert after[OrderKind.DOMAIN] == after[OrderKind.MAILBOXES] == waiting
    apply(store, "mx1")
    behind = Verdict(PENDING, "waiting for 1 of 2 mail servers")
    after = verdicts(store, acme)
    assert after[OrderKind.DOMAIN] == after[OrderKind.MAILBOXES] == behind
    apply(store, "mx2")
    assert set(verdicts(store, acme).values()) == {PROVISIONED}


def settle(store: Store, days: float = 0) -> None:
    with db.writing(store.engine) as session:
        orders.settle(session, store.settings, utcnow() + timedelta(days=days))


def delete_all(store: Store, owner: Workspace) -> None:
    with db.writing(store.engine) as session:
        domain = domains.get_by_name(session, owner, "acme.com")
        domains.delete(session, owner, domain.id)
        for address in addresses.list_(session, owner):
            addresses.release(session, owner, address.id)


def test_what_is_settled_does_not_change_any_more(store: Store, acme: Workspace) -> None:
    prove(store, acme)
    settle(store)
    with db.reading(store.engine) as session:
        assert {order.settled_at for order in session.exec(select(Order))} == {None}
    apply(store, "mx1", "mx2")
    settle(store)
    delete_all(store, acme)
    apply(store, "mx1", "mx2")
    with db.writing(store.engine) as session:
        assert purge.deleted(session) == 3
    assert set(verdicts(store, acme).values()) == {PROVISIONED}
    with db.reading(store.engine) as session:
        for order in session.exec(select(Order)):
            assert order.settled_at is not None
            assert order.status is OrderStatus.PROVISIONED


def test_what_is_deleted_before_fails(store: Store, acme: Workspace) -> None:
    delete_all(store, acme)
    for _ in range(2):
        found = verdicts(store, acme)
        assert {verdict.status for verdict in found.values()} == {OrderStatus.FAILED}
        assert found[OrderKind.DOMAIN].reason == "acme.com was deleted before it was provisioned"
        apply(store, "mx1", "mx2")
        with db.writing(store.engine) as session:
            purge.deleted(session)
    # What is ordered anew under the same names doesn't revive it.
    with db.writing(store.engine) as session:
        assert addresses.end_cooldowns(session, utcnow(), 0) == 2
    with db.writing(store.engine) as session:
        orders.first(
            session,
            store.vault,
            store.settings,
            acme,
            ips=2,
            domain="acme.com",
            emails=["alice@acme.com"],
            pair=dkim.generate(),
        )
    with db.reading(store.engine) as session:
        judged = [provisioning.judge(session, order) for order in orders.list_(session, acme)]
    assert [verdict.status for verdict in judged] == [PENDING] * 3 + [OrderStatus.FAILED] * 3


def test_one_of_two_mailboxes_deleted_leaves_the_other(store: Store, acme: Workspace) -> None:
    with db.writing(store.engine) as session:
        alice = mailboxes.get_by_email(session, acme, "alice@acme.com")
        mailboxes.delete(session, acme, alice.mailbox.id)
    prove(store, acme)
    with db.reading(store.engine) as session:
        bob = mailboxes.get_by_email(session, acme, "bob@acme.com")
    apply(store, bob.host.name)
    assert verdicts(store, acme)[OrderKind.MAILBOXES] == PROVISIONED


def test_another_workspace_that_proves_it_first_ends_it(store: Store, acme: Workspace) -> None:
    other = store.workspace("other")
    store.pool(store.host("mx3", "198.51.100.13"), "198.51.100.41")
    store.assign(other)
    domain = store.domain(other)
    store.prove(domain)
    claimed = Verdict(OrderStatus.FAILED, "acme.com has been proven by another workspace")
    found = verdicts(store, acme)
    assert found[OrderKind.DOMAIN] == found[OrderKind.MAILBOXES] == claimed
    settle(store)
    with db.writing(store.engine) as session:
        domains.delete(session, other, domain.id)
    assert verdicts(store, acme)[OrderKind.DOMAIN] == claimed


def test_after_thirty_days_they_are_given_up(store: Store, acme: Workspace) -> None:
    settle(store, 29.9)
    assert verdicts(store, acme)[OrderKind.DOMAIN] == TXT
    settle(store, 30.1)
    given_up = Verdict(OrderStatus.FAILED, f"given up after 30 days of {TXT.reason}")
    assert verdicts(store, acme)[OrderKind.DOMAIN] == given_up
    prove(store, acme)
    apply(store, "mx1", "mx2")
    assert verdicts(store, acme)[OrderKind.DOMAIN] == given_up


@pytest.mark.parametrize(
    ("ips", "domain", "email", "error"),
    [
        (0, "acme.com", "alice@acme.com", Invalid),
        (11, "acme.com", "alice@acme.com", Invalid),
        (3, "acme.com", "alice@acme.com", Unavailable),
        (1, "acme.test", "alice@acme.com", Invalid),
        (1, "acme.com", "alice", Invalid),
        (1, "acme.com", "alice@elsewhere.com", Conflict),
    ],
)
def test_a_first_order_is_all_or_nothing(
    store: Store, ips: int, domain: str, email: str, error: type[Exception]
) -> None:
    owner = store.workspace()
    store.pool(store.host(), "198.51.100.21", "198.51.100.22")
    with pytest.raises(error), db.writing(store.engine) as session:
        orders.first(
            session,
            store.vault,
            store.settings,
            owner,
            ips=ips,
            domain=domain,
            emails=[email],
            pair=dkim.generate(),
        )
    with db.reading(store.engine) as session:
        for table in (Order, Domain, Mailbox):
            rows = session.exec(select(table)).all()
            assert [row for row in rows if row.id and getattr(row, "workspace_id", None)] == []
        assert addresses.list_(session, owner) == []
