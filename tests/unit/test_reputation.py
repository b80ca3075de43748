"""Addresses on their way into the pool, into quarantine and back, by what DNS says of them."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta

import msgspec
import pytest
from dnskit import NameServer, serving
from storekit import Store

from orchestrator import db
from orchestrator.conditions import Reason, Status, Type
from orchestrator.dns.dnsbl import query_name
from orchestrator.errors import Conflict, Invalid, Unavailable
from orchestrator.models import Address, AddressState, Host, utcnow
from orchestrator.services import (
    addresses,
    clusters,
    conditions,
    departures,
    history,
    hosts,
    reputation,
)
from orchestrator.work.proofs import Proofs
from orchestrator.work.publication import Publication
from orchestrator.work.reputation import Reputation

ZONE = "bl.lists.net"
IP, NAME = "198.51.100.21", "ip-198-51-100-21.fleetlab.net"
REVERSE_ZONE = "100.51.198.in-addr.arpa"


@dataclass
class World:
    """A control plane and the DNS that it looks at."""

    store: Store
    dns: NameServer
    host: Host

    @property
    def reputation(self) -> Reputation:
        return Reputation(self.store.engine, self.store.settings, self.dns.resolver())

    @property
    def proofs(self) -> Proofs:
        store = self.store
        publication = Publication(store.engine, store.settings, store.vault)
        return Proofs(store.engine, store.settings, publication, self.dns.resolver())

    def add(self, ip: str = IP) -> Address:
        with db.writing(self.store.engine) as session:
            host = session.get_one(Host, self.host.id)
            return addresses.add(session, host=host, ip=ip, ptr_name=NAME)

    def confirm(self) -> None:
        self.dns.set(f"21.{REVERSE_ZONE}", "PTR", f"{NAME}.")
        self.dns.set(NAME, "A", IP)

    def enlist(self, *, listed: bool = True) -> None:
        name = query_name(IP, ZONE).removesuffix(f".{ZONE}")
        (self.dns.list_ip if listed else self.dns.delist_ip)(name, ZONE)

    def look(self, address: Address) -> Address:
        """Both kinds of look, as they come due."""
        self.proofs.check_host_names(self.host.id)
        return self.check(address)

    def check(self, address: Address) -> Address:
        self.reputation.check(address.id)
        with db.reading(self.store.engine) as session:
            return session.get_one(Address, address.id)

    def later(self, **settings: float) -> None:
        self.store.settings = msgspec.structs.replace(self.store.settings, **settings)

    def condition(self, address: Address) -> tuple[Status, Reason]:
        with db.reading(self.store.engine) as session:
            seen = conditions.get_all(session, [address.id])[address.id, Type.NOT_LISTED]
            return seen.status, seen.reason

    def events(self, ip: str = IP) -> list[str]:
        with db.reading(self.store.engine) as session:
            return [str(entry.event) for entry in history.of(session, ip)]


@pytest.fixture
def world(store: Store) -> Iterator[World]:
    store.settings = msgspec.structs.replace(store.settings, dnsbl_zones=(ZONE,))
    with serving("fleetlab.net", REVERSE_ZONE, ZONE) as dns:
        dns.list_ip("2.0.0.127", ZONE)
        yield World(store, dns, store.host())


def test_an_address_is_free_once_its_ptr_stands_and_no_list_has_it(world: World) -> None:
    address = world.add()
    assert world.look(address).state is AddressState.NEW
    # A list is not bothered with an address that isn't fit anyway.
    assert not any(name.endswith(ZONE) for name, _ in world.dns.asked)
    with pytest.raises(Unavailable):
        world.store.assign(world.store.workspace())
    world.confirm()
    assert world.look(address).state is AddressState.FREE
    assert world.condition(address) == (Status.TRUE, Reason.OBSERVED)
    assert world.events() == ["added", "ptr_seen", "checked"]


def test_a_wrong_ptr_keeps_an_address_out(world: World) -> None:
    address = world.add()
    world.confirm()
    world.dns.set(NAME, "A", "198.51.100.99")
    assert world.look(address).state is AddressState.NEW
    world.reputation.check_all(address.id)  # the lists say that it is clean
    assert world.check(address).state is AddressState.NEW


def test_a_resolver_failure_changes_nothing(world: World) -> None:
    address = world.add()
    world.confirm()
    world.dns.broken = {ZONE}
    seen = world.look(address)
    assert (seen.state, seen.reputation_at) == (AddressState.NEW, None)
    assert world.condition(address) == (Status.UNKNOWN, Reason.RESOLVER_FAILED)
    world.dns.broken = set()
    world.enlist()
    assert world.check(address).state is AddressState.QUARANTINED
    world.dns.broken = {ZONE, REVERSE_ZONE}
    seen = world.look(address)
    assert (seen.state, seen.reputation_flags) == (AddressState.QUARANTINED, [ZONE])
    assert world.events()[-2:] == ["listed", "quarantined"]


def test_a_listed_address_is_quarantined_and_comes_back_after_its_time(world: World) -> None:
    address = world.add()
    world.confirm()
    world.enlist()
    seen = world.look(address)
    assert (seen.state, seen.reputation_flags) == (AddressState.QUARANTINED, [ZONE])
    assert "seen spamming" in seen.quarantine_reason
    world.enlist(listed=False)
    seen = world.check(address)
    assert (seen.state, seen.reputation_flags) == (AddressState.QUARANTINED, None)
    world.enlist()
    world.check(address)
    world.later(quarantine_seconds=0)
    # It was listed again meanwhile: its time begins anew.
    assert world.check(address).state is AddressState.QUARANTINED
    world.enlist(listed=False)
    seen = world.check(address)
    assert (seen.state, seen.quarantine_reason) == (AddressState.FREE, "")
    told = ["listed", "quarantined", "delisted", "listed", "delisted", "unquarantined", "checked"]
    assert world.events() == ["added", "ptr_seen", *told]


def test_a_free_address_that_is_listed_is_quarantined(world: World) -> None:
    (address,) = world.store.pool(world.host, IP)
    world.enlist()
    assert world.check(address).state is AddressState.QUARANTINED


def test_a_tenants_address_serves_on_and_is_told_of(world: World) -> None:
    world.store.pool(world.host, IP)
    (address,) = world.store.assign(world.store.workspace())
    world.enlist()
    seen = world.check(address)
    assert (seen.state, seen.reputation_flags) == (AddressState.ASSIGNED, [ZONE])
    assert seen.reputation_at is not None
    assert world.condition(address) == (Status.FALSE, Reason.LISTED)
    with db.writing(world.store.engine) as session, pytest.raises(Conflict, match="tenant"):
        reputation.quarantine(session, session.get_one(Address, address.id), "spam")
    with db.reading(world.store.engine) as session:
        listed = history.of(session, IP)[-1]
        assert (str(listed.event), listed.workspace, listed.host) == ("listed", "acme", "mx1")


@pytest.mark.parametrize("is_mta", [True, False])
def test_an_mta_is_told_when_one_of_its_addresses_is_listed_or_delisted(
    world: World, is_mta: bool
) -> None:
    store, later = world.store, utcnow() + timedelta(days=1)
    store.pool(world.host, IP)
    workspace = store.workspace()
    (address,) = store.assign(workspace)
    if is_mta:
        with db.writing(store.engine) as session:
            cluster = clusters.create(session, store.settings, workspace, region="lab-1")
            clusters.add_mta(session, cluster, session.get_one(Host, world.host.id))

    def wakes() -> bool:
        with db.writing(store.engine) as session:
            session.get_one(Host, world.host.id).due_at = later
        world.check(address)
        with db.reading(store.engine) as session:
            return session.get_one(Host, world.host.id).due_at < later

    assert not wakes()
    world.enlist()
    assert wakes() is is_mta
    assert not wakes(), "nothing is new"
    world.dns.broken = {ZONE}
    assert not wakes(), "nobody says otherwise"
    world.dns.broken = set()
    world.enlist(listed=False)
    assert wakes() is is_mta


@pytest.mark.parametrize("listed", [True, False])
def test_after_its_rest_an_address_is_free_unless_it_is_listed(world: World, listed: bool) -> None:
    world.store.pool(world.host, IP)
    workspace = world.store.workspace()
    (address,) = world.store.assign(workspace)
    with db.writing(world.store.engine) as session:
        addresses.release(session, workspace, address.id)
    world.enlist(listed=listed)
    assert world.check(address).state is AddressState.COOLDOWN
    world.store.converge(world.host)
    with db.writing(world.store.engine) as session:
        assert addresses.end_cooldowns(session, utcnow() + timedelta(hours=2), 3600) == 1
        state = session.get_one(Address, address.id).state
    assert state is (AddressState.QUARANTINED if listed else AddressState.FREE)
    assert "cooled_down" in world.events()


def test_what_an_operator_quarantined_only_an_operator_lets_go(world: World) -> None:
    (address,) = world.store.pool(world.host, IP)
    world.confirm()
    world.later(quarantine_seconds=0)
    with db.writing(world.store.engine) as session:
        row = session.get_one(Address, address.id)
        with pytest.raises(Invalid):
            reputation.quarantine(session, row, " ")
        reputation.quarantine(session, row, "a customer complains")
    assert world.look(address).state is AddressState.QUARANTINED
    with db.writing(world.store.engine) as session:
        reputation.release(session, session.get_one(Address, address.id))
    assert world.look(address).state is AddressState.FREE
    with db.writing(world.store.engine) as session, pytest.raises(Conflict):
        reputation.release(session, session.get_one(Address, address.id))


def test_an_address_that_was_quarantined_while_it_rested_rests_on(world: World) -> None:
    world.store.pool(world.host, IP)
    workspace = world.store.workspace()
    (address,) = world.store.assign(workspace)
    with db.writing(world.store.engine) as session:
        row = addresses.release(session, workspace, address.id)
        reputation.quarantine(session, row, "abuse desk")
        reputation.release(session, row)
        assert row.state is AddressState.COOLDOWN


def test_without_blocklists_the_ptr_is_enough(world: World) -> None:
    world.store.settings = msgspec.structs.replace(world.store.settings, dnsbl_zones=())
    address = world.add()
    world.confirm()
    seen = world.look(address)
    assert (seen.state, seen.reputation_at) == (AddressState.FREE, None)


def test_a_ptr_that_goes_or_changes_is_in_the_history(world: World) -> None:
    address = world.add()
    world.confirm()
    world.look(address)
    world.dns.set(f"21.{REVERSE_ZONE}", "PTR", "else.fleetlab.net.")
    world.look(address)
    world.confirm()
    world.look(address)
    world.dns.broken = {REVERSE_ZONE}
    world.look(address)
    world.dns.broken = set()
    world.dns.set(f"21.{REVERSE_ZONE}", "PTR")
    world.look(address)
    seen = [event for event in world.events() if event.startswith("ptr_")]
    assert seen == ["ptr_seen", "ptr_changed", "ptr_seen", "ptr_lost"]


def test_the_history_outlives_host_and_address(world: World) -> None:
    world.add()
    with db.writing(world.store.engine) as session:
        hosts.remove(session, session.get_one(Host, world.host.id))
    assert world.events() == ["added", "removed"]


def test_an_address_of_a_tenant_stays(world: World) -> None:
    world.store.pool(world.host, IP, "198.51.100.22")
    workspace = world.store.workspace()
    (address,) = world.store.assign(workspace)
    for act in (lambda s: None, lambda s: addresses.release(s, workspace, address.id)):
        with db.writing(world.store.engine) as session:
            act(session)
            with pytest.raises(Conflict, match="can't leave"):
                departures.remove(session, session.get_one(Address, address.id))
    with db.writing(world.store.engine) as session:
        departures.remove(session, addresses.get_by_ip(session, "198.51.100.22"))
        assert [row.ip for row in addresses.list_(session)] == [IP]
    assert world.events("198.51.100.22") == ["added", "removed"]


def test_the_look_by_hand_sees_both(world: World) -> None:
    address = world.add()
    world.confirm()
    world.reputation.check_all(address.id)
    with db.reading(world.store.engine) as session:
        assert session.get_one(Address, address.id).state is AddressState.FREE


def test_an_address_that_is_gone_is_nobodys_concern(world: World) -> None:
    world.reputation.check(world.host.id)
    assert world.events() == []
