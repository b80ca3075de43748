"""Domains that are bought: from the order to the zone with its records, whatever breaks between."""

import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import eppkit
import knotkit
import msgspec
import paramiko
import pytest
import sshkit
from sqlmodel import select
from storekit import Store

from orchestrator import db
from orchestrator.conditions import Type
from orchestrator.dns.zones import serves
from orchestrator.errors import ConfigurationError, Conflict, Invalid, Unavailable
from orchestrator.models import (
    Domain,
    DomainMode,
    Registration,
    RegistrationState,
    Workspace,
    Zone,
    utcnow,
)
from orchestrator.publication import Publication
from orchestrator.purchases import Purchases
from orchestrator.registrars.configured import configured
from orchestrator.services import conditions, domains, registrations, status
from orchestrator.settings import RegistrarKind
from orchestrator.zones import ZoneHosting, ZoneTrouble

NAME = "new-tenant.net"
SERVERS = ("ns1.fleet.net", "ns2.fleet.net")


class Shop:
    """A control plane that buys domains."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.acme = store.workspace()
        store.pool(store.host(), "198.51.100.21", "198.51.100.22")
        store.assign(self.acme)

    def order(self, name: str = NAME, workspace: Workspace | None = None) -> None:
        store, buyer = self.store, workspace or self.acme
        registrations.offer(store.engine, configured(store.settings), buyer, name)
        with db.writing(store.engine) as session:
            domains.add(session, store.vault, store.settings, buyer, name=name, mode=DomainMode.BUY)

    def delete(self) -> None:
        with db.writing(self.store.engine) as session:
            domain = domains.get_by_name(session, self.acme, NAME)
            domains.delete(session, self.acme, domain.id)

    def look(self, zones: ZoneHosting | None = None) -> Registration:
        """Look at all, whether they are due or not."""
        made = configured(self.store.settings)
        purchases = Purchases(self.store.engine, self.store.settings, made, zones)
        purchases.read_notices()
        with db.reading(self.store.engine) as session:
            keys = session.exec(select(Registration.id).order_by(Registration.id)).all()  # type: ignore[arg-type]
        for key in keys:
            purchases.advance(key)
        with db.reading(self.store.engine) as session:
            return session.get_one(Registration, keys[-1])

    def status(self) -> str:
        with db.reading(self.store.engine) as session:
            domain = domains.get_by_name(session, self.acme, NAME)
            return status.domain_status(domain, conditions.get_all(session, [domain.id]))


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[eppkit.Registry]:
    with eppkit.serving(tmp_path) as running:
        yield running


@pytest.fixture
def shop(store: Store, registry: eppkit.Registry, tmp_path: Path) -> Shop:
    (tmp_path / "epp.password").write_text(eppkit.PASSWORD)
    store.settings = msgspec.structs.replace(
        store.settings,
        registrar=RegistrarKind.EPP,
        nameservers=SERVERS,
        epp_host="127.0.0.1",
        epp_port=registry.port,
        epp_client_id=eppkit.CLIENT,
        epp_password_file=tmp_path / "epp.password",
        epp_ca_file=tmp_path / "server.pem",
        epp_timeout=5.0,
    )
    return Shop(store)


def test_a_domain_is_bought_once_and_delegated_to_us(shop: Shop, registry: eppkit.Registry) -> None:
    shop.order()
    bought = shop.look()
    assert bought.state is RegistrationState.REGISTERED
    assert bought.expires_at is not None
    assert bought.expires_at.date() == registry.names[NAME].expires.date()
    assert bought.reference in registry.references
    assert tuple(registry.names[NAME].servers) == SERVERS
    shop.look()
    assert registry.seen.count("create") == 1
    assert registry.seen.count("renew") == 0
    assert shop.status() == "pending"  # until its records are seen in DNS


def test_an_answer_that_was_lost_buys_no_second_time(shop: Shop, registry: eppkit.Registry) -> None:
    shop.order()
    registry.lose_answer = True
    first = shop.look()
    assert (first.state, first.failures) == (RegistrationState.REQUESTED, 1)
    assert "broke" in first.reason or "closed" in first.reason
    assert shop.look().state is RegistrationState.REGISTERED
    assert registry.seen.count("create") == 1


def test_a_registry_that_takes_its_time_is_waited_for(
    shop: Shop, registry: eppkit.Registry
) -> None:
    registry.asynchronous = True
    shop.order()
    assert shop.look().state is RegistrationState.REGISTERING
    assert shop.look().state is RegistrationState.REGISTERING
    registry.decide(NAME, granted=True)
    assert shop.look().state is RegistrationState.REGISTERED
    assert registry.seen.count("create") == 1
    assert registry.queue == []


def test_a_registry_that_says_no_at_last_ends_it(shop: Shop, registry: eppkit.Registry) -> None:
    registry.asynchronous = True
    shop.order()
    shop.look()
    # The name is gone before its message comes: it must not be bought again.
    held = registry.names.pop(NAME)
    assert shop.look().state is RegistrationState.REGISTERING
    registry.names[NAME] = held
    registry.decide(NAME, granted=False)
    ended = shop.look()
    assert (ended.state, ended.reason) == (RegistrationState.FAILED, "refused by policy")
    assert shop.status() == "failed"
    assert registry.seen.count("create") == 1


@pytest.mark.parametrize("code", [2302, 2308])
def test_a_refusal_fails_the_domain_with_the_registrys_words(
    shop: Shop, registry: eppkit.Registry, code: int
) -> None:
    shop.order()
    registry.failures["create"] = [code]
    ended = shop.look()
    assert ended.state is RegistrationState.FAILED
    assert eppkit.WORDS[code] in ended.reason
    assert shop.status() == "failed"
    shop.delete()
    shop.order()
    assert shop.look().state is RegistrationState.REGISTERED


@pytest.mark.parametrize("code", [2104, 2400, 2502])
def test_what_may_work_later_is_tried_again(
    shop: Shop, registry: eppkit.Registry, code: int
) -> None:
    shop.order()
    registry.failures["create"] = [code]
    assert shop.look().state is RegistrationState.REQUESTED
    assert shop.look().state is RegistrationState.REGISTERED


def test_somebody_was_faster(shop: Shop, registry: eppkit.Registry) -> None:
    shop.order()
    registry.hold(NAME, owner="rival")
    ended = shop.look()
    assert ended.state is RegistrationState.FAILED and "somebody else" in ended.reason


def test_a_name_of_our_own_account_is_not_given_away(shop: Shop, registry: eppkit.Registry) -> None:
    shop.order()
    registry.hold(NAME, created=datetime.now(UTC) - timedelta(days=400))
    assert shop.look().state is RegistrationState.FAILED


def test_what_can_not_be_bought_is_refused_at_once(shop: Shop, registry: eppkit.Registry) -> None:
    registry.hold(NAME, owner="rival")
    with pytest.raises(Conflict, match="registered already"):
        shop.order()
    registry.names.clear()
    shop.order()
    rival = shop.store.workspace("rival")
    shop.store.assign(rival)
    with pytest.raises(Conflict):
        shop.order(workspace=rival)
    shop.store.settings = msgspec.structs.replace(shop.store.settings, epp_port=1)
    with pytest.raises(Unavailable):
        shop.order("other-tenant.net")


def test_a_deleted_domain_is_not_bought_but_what_is_bought_stays_its_tenants(
    shop: Shop, registry: eppkit.Registry
) -> None:
    shop.order()
    shop.delete()
    assert shop.look().state is RegistrationState.FAILED
    assert registry.names == {}
    shop.order()
    shop.look()
    shop.delete()
    assert shop.look().state is RegistrationState.REGISTERED
    shop.order()  # the registry says that it is taken: by us
    assert shop.look().state is RegistrationState.REGISTERED
    assert registry.seen.count("create") == 1


def test_a_domain_is_renewed_ahead_of_its_end_while_it_is_wanted(
    shop: Shop, registry: eppkit.Registry
) -> None:
    shop.order()
    shop.look()
    held = registry.names[NAME]
    held.expires = datetime.now(UTC) + timedelta(days=20)
    renewed = shop.look().expires_at
    assert renewed is not None and renewed > utcnow() + timedelta(days=300)
    shop.look()
    assert registry.seen.count("renew") == 1
    shop.delete()
    held.expires = datetime.now(UTC) + timedelta(days=20)
    shop.look()
    assert registry.seen.count("renew") == 1
    held.expires = datetime.now(UTC) - timedelta(days=1)
    assert shop.look().state is RegistrationState.FAILED


def test_name_servers_that_somebody_changed_are_set_right(
    shop: Shop, registry: eppkit.Registry
) -> None:
    shop.order()
    shop.look()
    registry.names[NAME].servers = ["ns.elsewhere.net"]
    shop.look()
    assert sorted(registry.names[NAME].servers) == sorted(SERVERS)


def test_by_hand_the_operator_decides(shop: Shop) -> None:
    settings = shop.store.settings
    shop.store.settings = msgspec.structs.replace(settings, registrar=RegistrarKind.MANUAL)
    shop.order()
    assert shop.look().state is RegistrationState.REGISTERING
    with db.writing(shop.store.engine) as session:
        with pytest.raises(Invalid):
            registrations.done_by_hand(session, NAME, utcnow() - timedelta(days=1))
        registrations.done_by_hand(session, NAME, utcnow() + timedelta(days=365))
        with pytest.raises(Conflict):
            registrations.failed_by_hand(session, NAME, "no")
    assert shop.look().state is RegistrationState.REGISTERED
    shop.order("second.net")
    with db.writing(shop.store.engine) as session:
        registrations.failed_by_hand(session, "second.net", "too dear")
        listed = registrations.list_(session)
    assert [(row.name, str(row.state), row.workspace) for row in listed] == [
        (NAME, "registered", "acme"),
        ("second.net", "failed", "acme"),
    ]


def test_without_a_registrar_nothing_is_bought(store: Store) -> None:
    shop = Shop(store)
    with pytest.raises(Invalid, match="not offered"):
        shop.order()


@pytest.fixture
def name_server(tmp_path: Path) -> Iterator[knotkit.NameServer]:
    directory = tmp_path / "knot"
    directory.mkdir()
    with knotkit.serving(directory) as running:
        yield running


@pytest.fixture
def hosting(shop: Shop, name_server: knotkit.NameServer, tmp_path: Path) -> Iterator[ZoneHosting]:
    """The name server, reached over SSH."""

    def run(command: str) -> tuple[int, str]:
        done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=False)
        return done.returncode, done.stdout

    (tmp_path / "tsig").write_text(knotkit.TSIG_SECRET)
    paramiko.ECDSAKey.generate().write_private_key_file(str(tmp_path / "key"))
    with sshkit.serve(run) as ssh:
        shop.store.settings = msgspec.structs.replace(
            shop.store.settings,
            ssh_key_file=tmp_path / "key",
            zone_server="127.0.0.1",
            zone_port=name_server.port,
            zone_ssh_port=ssh.port,
            zone_host_key=ssh.host_key,
            zone_command=name_server.command,
            zone_tsig_name=knotkit.TSIG_NAME,
            zone_tsig_secret_file=tmp_path / "tsig",
        )
        made = ZoneHosting(shop.store.engine, shop.store.settings, shop.store.vault)
        yield made
        made.close()


def test_a_bought_domain_gets_its_zone_and_records(
    shop: Shop, hosting: ZoneHosting, name_server: knotkit.NameServer
) -> None:
    store = shop.store
    shop.order()
    shop.look(hosting)
    bought = shop.look(hosting)
    assert (bought.state, bought.reason) == (RegistrationState.REGISTERED, "")
    assert serves("127.0.0.1", name_server.port, NAME, 2.0)
    assert "ns2.fleet.net." in name_server.knotc("zone-read", NAME, "@", "NS")
    with db.reading(store.engine) as session:
        domain = domains.get_by_name(session, shop.acme, NAME)
        assert domain.dns_due_at <= utcnow()
        records = domains.expected_records(session, store.settings, domain)
    publication = Publication(store.engine, store.settings, store.vault)
    done = publication.publish(dict.fromkeys(records, domain.id), shop.acme.id)
    assert str(done.status) == "True", done.message
    assert "v=spf1 ip4:198.51.100.21 -all" in name_server.knotc("zone-read", NAME)


def test_a_zone_outlives_the_server_and_is_made_once(
    shop: Shop, hosting: ZoneHosting, name_server: knotkit.NameServer
) -> None:
    hosting.ensure(NAME, shop.acme.id)
    before = name_server.knotc("zone-read", NAME, "@", "SOA")
    name_server.stop()
    with pytest.raises(ZoneTrouble):
        hosting.ensure(NAME, shop.acme.id)
    name_server.start()
    hosting.ensure(NAME, shop.acme.id)
    assert name_server.knotc("zone-read", NAME, "@", "SOA") == before


@pytest.mark.parametrize("done", ["conf", "half", "open"])
def test_a_zone_that_was_begun_is_ended(
    shop: Shop, hosting: ZoneHosting, name_server: knotkit.NameServer, done: str
) -> None:
    name_server.knotc("conf-begin")
    name_server.knotc("conf-set", f"zone[{NAME}]")
    name_server.knotc("conf-set", f"zone[{NAME}].template", "managed")
    name_server.knotc("conf-commit")
    if done != "conf":
        name_server.knotc("zone-begin", NAME)
    if done == "open":
        name_server.knotc("zone-set", NAME, "@", "60", "NS", "ns.half.net.")
    hosting.ensure(NAME, shop.acme.id)
    assert serves("127.0.0.1", name_server.port, NAME, 2.0)
    assert "half" not in name_server.knotc("zone-read", NAME)


def test_a_deleted_domains_zone_goes_and_comes_back(
    shop: Shop, hosting: ZoneHosting, name_server: knotkit.NameServer
) -> None:
    shop.order()
    shop.look(hosting)
    kept = shop.look(hosting)
    assert kept.due_at > utcnow()
    shop.delete()
    with db.reading(shop.store.engine) as session:
        assert registrations.due(session, utcnow()) == [kept.id]
    shop.look(hosting)
    shop.look(hosting)  # harmless again
    assert not serves("127.0.0.1", name_server.port, NAME, 2.0)
    assert NAME not in name_server.knotc("conf-read", "zone")
    with db.reading(shop.store.engine) as session:
        assert session.exec(select(Zone)).first() is None
    shop.order()
    shop.look(hosting)
    assert serves("127.0.0.1", name_server.port, NAME, 2.0)


def test_a_zone_of_others_is_left_alone(
    shop: Shop, hosting: ZoneHosting, name_server: knotkit.NameServer
) -> None:
    shop.store.zone(NAME)
    with pytest.raises(ZoneTrouble, match="known already"):
        hosting.ensure(NAME, shop.acme.id)
    hosting.remove(NAME, shop.acme.id)
    with db.reading(shop.store.engine) as session:
        assert session.exec(select(Zone)).one().name == NAME


def test_a_server_that_refuses_says_why(
    shop: Shop, hosting: ZoneHosting, name_server: knotkit.NameServer
) -> None:
    name_server.knotc("conf-begin")  # somebody else is changing the configuration
    shop.order()
    shop.look(hosting)
    waiting = shop.look(hosting)
    assert waiting.state is RegistrationState.REGISTERED
    assert "too many transactions" in waiting.reason
    name_server.knotc("conf-abort")
    assert shop.look(hosting).reason == ""


def test_a_name_is_renewed_though_its_name_server_is_away(
    shop: Shop, registry: eppkit.Registry, hosting: ZoneHosting, name_server: knotkit.NameServer
) -> None:
    shop.order()
    shop.look(hosting)
    registry.names[NAME].expires = datetime.now(UTC) + timedelta(days=20)
    name_server.knotc("conf-begin")
    renewed = shop.look(hosting)
    assert registry.seen.count("renew") == 1
    assert renewed.expires_at is not None
    assert renewed.expires_at > utcnow() + timedelta(days=300)
    assert "too many transactions" in renewed.reason


def test_a_delegation_that_is_refused_is_told_and_tried_again(
    shop: Shop, registry: eppkit.Registry
) -> None:
    shop.order()
    shop.look()
    registry.names[NAME].servers = ["ns.elsewhere.net"]
    registry.failures["update"] = [2303]
    waiting = shop.look()
    assert (waiting.state, waiting.failures) == (RegistrationState.REGISTERED, 1)
    assert "2303" in waiting.reason
    assert shop.look().reason == ""


def test_incomplete_settings_are_named(store: Store) -> None:
    options = msgspec.structs.replace(store.settings, zone_server="127.0.0.1")
    with pytest.raises(ConfigurationError, match="nameservers, zone_host_key"):
        ZoneHosting(store.engine, options, store.vault)


def test_conditions_tell_how_far_it_is(shop: Shop, registry: eppkit.Registry) -> None:
    registry.asynchronous = True
    shop.order()
    shop.look()
    with db.reading(shop.store.engine) as session:
        domain = session.exec(select(Domain).where(Domain.name == NAME)).one()
        seen = conditions.get_all(session, [domain.id])[domain.id, Type.REGISTERED]
    assert (str(seen.status), seen.message) == ("Unknown", "the registrar is at it")
