"""Hosts, addresses and zones."""

import threading
from collections.abc import Iterator
from datetime import timedelta

import pytest
from sqlmodel import Session, select
from storekit import HOST_KEY, Store

from orchestrator import db
from orchestrator.errors import Conflict, Invalid, NotFound, Unavailable
from orchestrator.models import (
    Address,
    AddressState,
    DkimKey,
    Domain,
    Host,
    Workspace,
    utcnow,
)
from orchestrator.services import addresses, hosts, mailboxes, zones


@pytest.fixture
def session(store: Store) -> Iterator[Session]:
    with db.writing(store.engine) as session:
        yield session


def test_enrolling_a_host_makes_its_name_a_proven_domain(store: Store) -> None:
    host = store.host()
    with db.reading(store.engine) as session:
        domain = session.exec(select(Domain)).one()
        assert (domain.name, domain.host_id, domain.workspace_id) == (
            "mx1.fleetlab.net",
            host.id,
            None,
        )
        assert domain.verified_at is not None
        assert session.exec(select(DkimKey)).one().domain_id == domain.id
        assert hosts.get_by_name(session, "mx1").host_key == HOST_KEY
        with pytest.raises(NotFound):
            hosts.get_by_name(session, "mx9")


@pytest.mark.parametrize(
    "change",
    [
        {"name": "MX 1"},
        {"hostname": "mx1"},
        {"address": "mx1.fleetlab.net"},
        {"address": "2001:db8::1"},
        {"ssh_port": 0},
        {"ssh_user": "root; reboot"},
        {"host_key": ""},
        {"host_key": "ssh-ed25519"},
        {"host_key": "ssh-ed25519 AAAA"},
        {"host_key": "ssh-ed25519 not base64"},
        {"host_key": "ssh-rsa " + HOST_KEY.split()[1]},
        {"host_key": f"mx1 {HOST_KEY}"},
        {"host_key": f"{HOST_KEY}\nmx2 {HOST_KEY}"},
    ],
)
def test_a_malformed_host_is_refused(
    store: Store, session: Session, change: dict[str, object]
) -> None:
    host: dict[str, object] = {
        "name": "mx1",
        "hostname": "mx1.fleetlab.net",
        "address": "198.51.100.11",
        "host_key": HOST_KEY,
        **change,
    }
    with pytest.raises(Invalid):
        hosts.add(session, store.vault, **host)  # type: ignore[arg-type]


def test_a_host_is_enrolled_once(store: Store) -> None:
    store.host()
    with pytest.raises(Conflict):
        store.host()


def test_a_host_with_tenants_stays(store: Store) -> None:
    host = store.host()
    store.pool(host, "198.51.100.21", "198.51.100.22")
    workspace = store.workspace()
    (address,) = store.assign(workspace)
    with db.writing(store.engine) as session, pytest.raises(Conflict):
        hosts.remove(session, session.get_one(Host, host.id))
    with db.writing(store.engine) as session:
        addresses.release(session, workspace, address.id)
    with db.writing(store.engine) as session:
        hosts.remove(session, session.get_one(Host, host.id))
    with db.reading(store.engine) as session:
        for table in (Host, Address, Domain, DkimKey):
            assert session.exec(select(table)).all() == []


def test_a_removed_hosts_deleted_mailboxes_go_with_it(store: Store) -> None:
    host = store.host()
    store.pool(host, "198.51.100.21")
    workspace = store.workspace()
    (address,) = store.assign(workspace)
    store.domain(workspace)
    (placed,) = store.mailboxes(workspace, "alice@acme.com")
    with db.writing(store.engine) as session:
        mailboxes.delete(session, workspace, placed.mailbox.id)
        addresses.release(session, workspace, address.id)
        hosts.remove(session, session.get_one(Host, host.id))
    with db.reading(store.engine) as session:
        assert hosts.list_(session) == []


def test_pausing_resuming_and_rekeying(store: Store) -> None:
    host = store.host()
    with db.writing(store.engine) as session:
        row = session.get_one(Host, host.id)
        row.os, row.due_at = "debian12", utcnow() + timedelta(hours=1)
        assert hosts.pause(session, row).paused
    with db.writing(store.engine) as session:
        row = hosts.resume(session, session.get_one(Host, host.id))
        session.refresh(row)
        assert not row.paused and row.due_at <= utcnow()
        assert hosts.rekey(session, row, HOST_KEY + " root@mx1").host_key == HOST_KEY
        assert row.os is None


def test_an_address_is_in_the_pool_once(store: Store) -> None:
    host = store.host()
    (address,) = store.pool(host, "2001:DB8::21")
    assert (address.ip, address.version, address.state) == ("2001:db8::21", 6, AddressState.FREE)
    for ip in ("2001:db8:0::21", host.address):
        with pytest.raises(Conflict):
            store.pool(host, ip)


def test_addresses_come_from_the_least_used_hosts(store: Store) -> None:
    store.pool(store.host(), "198.51.100.21", "198.51.100.22", "198.51.100.23")
    store.pool(store.host("mx2", "198.51.100.12"), "198.51.100.31", "198.51.100.32")
    ips = {row.ip for row in store.assign(store.workspace(), 4)}
    assert len(ips & {"198.51.100.31", "198.51.100.32"}) == 2


def test_assignment_is_all_or_nothing(store: Store) -> None:
    host = store.host()
    store.pool(host, "198.51.100.21", "198.51.100.22", "2001:db8::21")
    workspace = store.workspace()
    with pytest.raises(Unavailable):
        store.assign(workspace, 3)
    with db.reading(store.engine) as session:
        assert addresses.list_(session, workspace) == []
        assert {row.state for row in addresses.list_(session)} == {AddressState.FREE}


def test_an_address_may_be_asked_of_one_host_or_version(store: Store) -> None:
    store.pool(store.host(), "198.51.100.21", "2001:db8::21")
    other = store.host("mx2", "198.51.100.12")
    store.pool(other, "198.51.100.31")
    workspace = store.workspace()
    with db.writing(store.engine) as session:
        (six,) = addresses.assign(session, workspace, count=1, version=6)
        (four,) = addresses.assign(session, workspace, count=1, host=other)
        assert (six.ip, four.ip) == ("2001:db8::21", "198.51.100.31")


def test_paused_hosts_get_no_tenants(store: Store) -> None:
    host = store.host()
    store.pool(host, "198.51.100.21")
    with db.writing(store.engine) as session:
        hosts.pause(session, session.get_one(Host, host.id))
    with pytest.raises(Unavailable):
        store.assign(store.workspace())


def test_one_address_is_never_given_twice(store: Store) -> None:
    store.pool(store.host(), *(f"198.51.100.{n}" for n in range(21, 29)))
    tenants = [store.workspace(f"t{n}") for n in range(12)]
    taken: list[str] = []
    short: list[str] = []

    def order(workspace: Workspace) -> None:
        try:
            taken.extend(row.ip for row in store.assign(workspace))
        except Unavailable:
            short.append(workspace.slug)

    threads = [threading.Thread(target=order, args=(tenant,)) for tenant in tenants]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(taken) == len(set(taken)) == 8
    assert len(short) == 4


@pytest.mark.parametrize("count", [0, -1, 11])
def test_an_order_is_of_one_to_ten(store: Store, session: Session, count: int) -> None:
    with pytest.raises(Invalid):
        addresses.order(session, Workspace(slug="a", name="A", verification_token="t"), count)


def test_an_order_needs_a_domain(store: Store) -> None:
    store.pool(store.host(), "198.51.100.21", "198.51.100.22")
    workspace = store.workspace()
    with db.writing(store.engine) as session, pytest.raises(Conflict):
        addresses.order(session, workspace, 1)
    store.assign(workspace)
    domain = store.domain(workspace)
    with db.writing(store.engine) as session:
        session.get_one(Domain, domain.id).dns_due_at = utcnow() + timedelta(hours=1)
    with db.writing(store.engine) as session:
        order = addresses.order(session, workspace, 1)
        assert order.detail == {"ips": ["198.51.100.22"]}
    with db.reading(store.engine) as session:
        assert session.get_one(Domain, domain.id).dns_due_at <= utcnow()


def test_releasing_moves_mailboxes_on_the_same_host(store: Store) -> None:
    store.pool(store.host(), "198.51.100.21", "198.51.100.22")
    workspace = store.workspace()
    first, second = store.assign(workspace, 2)
    store.domain(workspace)
    store.mailboxes(workspace, "alice@acme.com", "bob@acme.com")
    with db.writing(store.engine) as session:
        released = addresses.release(session, workspace, first.id)
        assert released.state is AddressState.COOLDOWN and released.workspace_id is None
    with db.reading(store.engine) as session:
        assert {row.address.ip for row in mailboxes.list_(session, workspace)} == {second.ip}
    with db.writing(store.engine) as session, pytest.raises(Conflict):
        addresses.release(session, workspace, second.id)


def test_an_address_on_another_host_saves_no_mailbox(store: Store) -> None:
    store.pool(store.host(), "198.51.100.21")
    workspace = store.workspace()
    (first,) = store.assign(workspace)
    store.domain(workspace)
    (placed,) = store.mailboxes(workspace, "alice@acme.com")
    store.pool(store.host("mx2", "198.51.100.12"), "198.51.100.31")
    store.assign(workspace)
    with db.writing(store.engine) as session, pytest.raises(Conflict):
        addresses.release(session, workspace, first.id)
    with db.writing(store.engine) as session:
        mailboxes.delete(session, workspace, placed.mailbox.id)
        addresses.release(session, workspace, first.id)
        with pytest.raises(NotFound):
            addresses.get(session, workspace, first.id)


def test_a_released_address_rests_until_its_host_has_let_go(store: Store) -> None:
    host = store.host()
    store.pool(host, "198.51.100.21")
    workspace = store.workspace()
    (address,) = store.assign(workspace)
    with db.writing(store.engine) as session:
        addresses.release(session, workspace, address.id)
    later = utcnow() + timedelta(hours=2)
    with db.writing(store.engine) as session:
        assert addresses.end_cooldowns(session, later, 3600) == 0
        session.get_one(Host, host.id).applied_at = utcnow()
    with pytest.raises(Unavailable):
        store.assign(workspace)
    with db.writing(store.engine) as session:
        assert addresses.end_cooldowns(session, utcnow(), 3600) == 0
        assert addresses.end_cooldowns(session, later, 3600) == 1
    assert store.assign(workspace)[0].ip == "198.51.100.21"


def test_the_closest_zone_of_the_same_owner_covers_a_name(store: Store) -> None:
    acme, rival = store.workspace("acme"), store.workspace("rival")
    store.zone("fleetlab.net")
    store.zone("100.51.198.in-addr.arpa")
    store.zone("acme.com", acme)
    store.zone("mail.acme.com", acme)
    with db.reading(store.engine) as session:

        def name(domain: str, workspace: Workspace | None) -> str | None:
            zone = zones.covering(session, domain, workspace.id if workspace else None)
            return zone.name if zone else None

        assert name("acme.com", acme) == "acme.com"
        assert name("a.mail.acme.com", acme) == "mail.acme.com"
        assert name("notacme.com", acme) is None
        assert name("acme.com", rival) is None
        assert name("acme.com", None) is None
        assert name("mx1.fleetlab.net", None) == "fleetlab.net"
        assert name("mx1.fleetlab.net", acme) is None
        assert name("21.100.51.198.in-addr.arpa", None) == "100.51.198.in-addr.arpa"


def test_a_zones_secret_is_encrypted_and_a_zone_is_known_once(store: Store) -> None:
    zone = store.zone("fleetlab.net")
    assert store.vault.decrypt(zone.tsig_secret) == "c2VjcmV0" != zone.tsig_secret
    with pytest.raises(Conflict):
        store.zone("FLEETLAB.net.")
    with db.writing(store.engine) as session:
        zones.remove(session, "fleetlab.net")
        assert zones.list_(session) == []
        with pytest.raises(NotFound):
            zones.remove(session, "fleetlab.net")


@pytest.mark.parametrize(
    "change",
    [
        {"name": "a b"},
        {"server": "ns1"},
        {"port": 0},
        {"tsig_name": ""},
        {"tsig_algorithm": "hmac-md5"},
        {"tsig_secret": ""},
        {"tsig_secret": "not base64!"},
    ],
)
def test_a_malformed_zone_is_refused(
    store: Store, session: Session, change: dict[str, object]
) -> None:
    zone: dict[str, object] = {
        "name": "fleetlab.net",
        "server": "198.51.100.52",
        "tsig_name": "lab",
        "tsig_secret": "c2VjcmV0",
        **change,
    }
    with pytest.raises(Invalid):
        zones.add(session, store.vault, **zone)  # type: ignore[arg-type]
