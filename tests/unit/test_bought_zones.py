"""Zones of domains that were bought, on a real Knot server."""

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
from shopkit import NAME, Shop
from sqlmodel import select
from storekit import Store

from orchestrator import db
from orchestrator.dns.zones import serves
from orchestrator.errors import ConfigurationError
from orchestrator.models import (
    RegistrationState,
    Zone,
    utcnow,
)
from orchestrator.services import domains, registrations
from orchestrator.work.publication import Publication
from orchestrator.work.zone_hosting import ZoneHosting, ZoneTrouble


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


def test_incomplete_settings_are_named(store: Store) -> None:
    options = msgspec.structs.replace(store.settings, zone_server="127.0.0.1")
    with pytest.raises(ConfigurationError, match="nameservers, zone_host_key"):
        ZoneHosting(store.engine, options, store.vault)
