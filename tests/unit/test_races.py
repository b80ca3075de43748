"""Many at once, on both engines: nothing is handed out twice, and nobody waits for ever."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import TypeVar
from uuid import UUID

from sqlmodel import col, select
from storekit import Store

from orchestrator.conditions import Reason, Status, Type
from orchestrator.db import reading, writing
from orchestrator.errors import Conflict, Unavailable
from orchestrator.leases import Leases, put_off
from orchestrator.models import Address, AddressState, Condition, Domain, Host, Mailbox, Workspace
from orchestrator.services import addresses, conditions, mailboxes, moves, wake
from orchestrator.services.rows import lock

T = TypeVar("T")

THREADS = 6


def at_once(work: Callable[[int], T], count: int = THREADS) -> list[T]:
    """Begin all at the same moment; gives what each gave, or raises what one raised."""
    barrier = Barrier(count)

    def begin(number: int) -> T:
        barrier.wait(timeout=60)
        return work(number)

    with ThreadPoolExecutor(count) as threads:
        return list(threads.map(begin, range(count)))


def test_every_host_is_claimed_by_one(store: Store) -> None:
    ids = [store.host(f"mx{number}").id for number in range(12)]
    reconcilers = [Leases(store.engine, 60) for _ in range(THREADS)]
    taken = at_once(lambda number: reconcilers[number].claim(ids[number:] + ids[:number]))
    # What another one was taking at that moment is left to it: a second look finds nothing free.
    taken += [leases.claim(ids) for leases in reconcilers]
    flat = [host for claim in taken for host in claim]
    assert sorted(flat) == sorted(ids)
    for leases in reconcilers:
        leases.close()


def test_every_check_is_begun_by_one(store: Store) -> None:
    for number in range(12):
        store.host(f"mx{number}")
    with reading(store.engine) as session:
        ids = list(session.exec(select(Domain.id)))
    due = col(Domain.dns_due_at)
    begun = at_once(lambda _: put_off(store.engine, due, 60.0, ids))
    begun.append(put_off(store.engine, due, 60.0, ids))
    assert sorted(key for keys in begun for key in keys) == sorted(ids)


def test_no_address_is_given_twice(store: Store) -> None:
    for number in range(3):
        store.pool(
            store.host(f"mx{number}"), *(f"198.51.100.{number * 20 + ip}" for ip in range(20, 24))
        )
    tenants = [store.workspace(f"tenant{number}") for number in range(THREADS)]

    def order(number: int) -> list[str]:
        try:
            return [address.ip for address in store.assign(tenants[number], 3)]
        except Unavailable:
            return []

    given = [ip for ips in at_once(order) for ip in ips]
    assert len(given) == len(set(given))
    with reading(store.engine) as session:
        assigned = select(Address).where(Address.state == AddressState.ASSIGNED)
        assert {row.ip for row in session.exec(assigned)} == set(given)


def test_no_mailbox_is_left_on_an_address_that_went(store: Store) -> None:
    store.pool(store.host(), "198.51.100.21", "198.51.100.22")
    workspace = store.workspace()
    first, _ = store.assign(workspace, 2)
    store.domain(workspace)

    def change(number: int) -> None:
        with writing(store.engine) as session:
            row = session.get_one(Workspace, workspace.id)
            if number == 0:
                addresses.release(session, row, first.id)
            else:
                mailboxes.create(session, store.vault, store.settings, row, [f"m{number}@acme.com"])

    at_once(change)
    with reading(store.engine) as session:
        assert {row.address_id for row in session.exec(select(Mailbox))} != {first.id}
        assert first.id not in {row.address_id for row in session.exec(select(Mailbox))}


def test_one_of_two_that_make_the_same_mailbox_wins(store: Store) -> None:
    store.pool(store.host(), "198.51.100.21")
    workspace = store.workspace()
    store.assign(workspace)
    store.domain(workspace)

    def create(_: int) -> bool:
        try:
            store.mailboxes(workspace, "alice@acme.com")
        except Conflict:
            return False
        return True

    assert sum(at_once(create)) == 1


def test_a_condition_seen_first_by_many_is_one_row(store: Store) -> None:
    host = store.host()

    def see(_: int) -> None:
        with writing(store.engine) as session:
            conditions.set_(session, host.id, Type.REACHABLE, Status.TRUE, Reason.OBSERVED)

    at_once(see)
    with reading(store.engine) as session:
        assert len(session.exec(select(Condition)).all()) == 1


def test_wakes_and_renewals_of_the_same_hosts_never_block_one_another(store: Store) -> None:
    ids = [store.host(f"mx{number}").id for number in range(8)]

    def touch(number: int) -> None:
        for turn in range(10):
            order = ids[turn % 8 :] + ids[: turn % 8]
            if number % 2:
                with writing(store.engine) as session:
                    wake.wake(session, order[::-1])
            else:
                leases = reconcilers[number // 2]
                leases.claim(order)
                leases.renew()

    reconcilers = [Leases(store.engine, 60) for _ in range(THREADS // 2)]
    at_once(touch)
    for leases in reconcilers:
        leases.close()


def test_hosts_are_evacuated_while_their_tenants_change(store: Store) -> None:
    hosts = [store.host(f"mx{number}") for number in range(4)]
    for number, host in enumerate(hosts):
        store.pool(host, *(f"198.51.100.{number * 20 + ip}" for ip in range(20, 32)))
    tenants = [store.workspace(f"tenant{number}") for number in range(5)]
    for number, tenant in enumerate(tenants):
        store.assign(tenant, 4)
        store.domain(tenant, f"tenant{number}.com")

    def change(number: int) -> list[tuple[UUID, UUID]]:
        if number < 2:
            with writing(store.engine) as session:
                begun = moves.evacuate(session, session.get_one(Host, hosts[number].id))
                return [(move.source_id, move.target_id) for move in begun]
        for turn in range(60):
            tenant = tenants[(turn + number) % len(tenants)].id
            with writing(store.engine) as session:
                lock(session, Workspace, [tenant])
                wake.wake_dns(session, tenant)
                wake.wake_workspace(session, tenant)
        return []

    ends = [end for begun in at_once(change) for move in begun for end in move]
    assert len(ends) == len(set(ends)) >= 2 * 2 * len(tenants)
