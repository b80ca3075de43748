"""The EPP driver before a server that follows the RFCs."""

import logging
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import eppkit
import msgspec
import pytest

from orchestrator.errors import ConfigurationError
from orchestrator.registrars import eppxml
from orchestrator.registrars.configured import configured
from orchestrator.registrars.epp import Epp
from orchestrator.registrars.eppwire import Account
from orchestrator.registrars.manual import Manual
from orchestrator.registrars.registrar import (
    Held,
    Notice,
    RegistrarAway,
    RegistrarRefusal,
    Standing,
)
from orchestrator.settings import RegistrarKind, Settings

NAME = "new-tenant.net"
SERVERS = ["ns1.fleet.net", "ns2.fleet.net"]


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[eppkit.Registry]:
    with eppkit.serving(tmp_path) as running:
        yield running


@pytest.fixture
def options(registry: eppkit.Registry, tmp_path: Path) -> Settings:
    password = tmp_path / "epp.password"
    password.write_text(eppkit.PASSWORD + "\n")
    return Settings(
        registrar=RegistrarKind.EPP,
        epp_host="127.0.0.1",
        epp_port=registry.port,
        epp_client_id=eppkit.CLIENT,
        epp_password_file=password,
        epp_ca_file=tmp_path / "server.pem",
        epp_registrant="MF-HOLDER",
        epp_contacts=("admin:MF-ADMIN", "tech:MF-TECH"),
        epp_timeout=5.0,
    )


@pytest.fixture
def epp(options: Settings) -> Epp:
    made = configured(options)
    assert isinstance(made, Epp)
    return made


def buy(epp: Epp) -> None:
    epp.register(NAME, years=2, nameservers=SERVERS, reference="MF-1234")


def test_a_name_is_bought_and_then_held_by_us(epp: Epp, registry: eppkit.Registry) -> None:
    assert epp.check(NAME) is True
    assert epp.info(NAME) is Standing.FREE
    buy(epp)
    assert "MF-1234" in registry.references
    assert epp.check(NAME) is False
    held = epp.info(NAME)
    assert isinstance(held, Held)
    assert (held.ours, held.nameservers) == (True, tuple(SERVERS))
    assert timedelta(days=729) < held.expires_at - datetime.now(UTC) < timedelta(days=731)
    assert registry.seen[-1] == "logout"


def test_a_name_that_takes_its_time_is_pending_until_the_registry_says(
    epp: Epp, registry: eppkit.Registry
) -> None:
    registry.asynchronous = True
    buy(epp)
    assert epp.info(NAME) is Standing.PENDING
    registry.decide(NAME, granted=False)
    told: list[Notice] = []
    epp.notices(told.append)
    assert told == [Notice(NAME, False, "refused by policy")]
    assert epp.info(NAME) is Standing.FREE
    epp.notices(told.append)
    assert len(told) == 1


def test_a_message_stays_queued_until_it_was_taken_in(epp: Epp, registry: eppkit.Registry) -> None:
    registry.hold(NAME, status="pendingCreate")
    registry.decide(NAME, granted=True)

    def crash(notice: Notice) -> None:
        raise RuntimeError

    with pytest.raises(RuntimeError):
        epp.notices(crash)
    assert len(registry.queue) == 1


def test_somebody_elses_name_is_told_from_ours(epp: Epp, registry: eppkit.Registry) -> None:
    registry.hold(NAME, owner="rival")
    held = epp.info(NAME)
    assert isinstance(held, Held) and not held.ours


def test_a_renewal_is_done_once(epp: Epp, registry: eppkit.Registry) -> None:
    end = registry.hold(NAME).expires
    renewed = epp.renew(NAME, expires_at=end, years=1)
    assert renewed.date() == (end + timedelta(days=365)).date()
    with pytest.raises(RegistrarRefusal, match="2105"):
        epp.renew(NAME, expires_at=end, years=1)


def test_name_servers_are_replaced(epp: Epp, registry: eppkit.Registry) -> None:
    held = registry.hold(NAME, servers=["ns.old.net", "ns1.fleet.net"])
    epp.set_nameservers(NAME, before=held.servers[:], wanted=SERVERS)
    assert sorted(held.servers) == SERVERS


@pytest.mark.parametrize("code", [2302, 2308])
def test_a_refusal_is_final(epp: Epp, registry: eppkit.Registry, code: int) -> None:
    registry.failures["create"] = [code]
    with pytest.raises(RegistrarRefusal, match=f"{code} {eppkit.WORDS[code]}"):
        buy(epp)


@pytest.mark.parametrize("code", [2104, 2400, 2502])
def test_what_may_work_later_is_no_refusal(epp: Epp, registry: eppkit.Registry, code: int) -> None:
    registry.failures["create"] = [code]
    with pytest.raises(RegistrarAway):
        buy(epp)
    buy(epp)


def test_a_wrong_password_is_no_refusal_and_is_told_nowhere(
    options: Settings, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    (tmp_path / "epp.password").write_text("wr0ng-passw0rd")
    made = configured(options)
    assert made is not None
    with caplog.at_level(logging.DEBUG), pytest.raises(RegistrarAway, match="2200") as caught:
        made.check(NAME)
    assert "wr0ng" not in caplog.text + str(caught.value) + repr(vars(made))


def test_a_server_without_a_trusted_certificate_is_not_spoken_to(
    options: Settings, registry: eppkit.Registry
) -> None:
    made = configured(msgspec.structs.replace(options, epp_ca_file=None))
    assert made is not None
    with pytest.raises(RegistrarAway, match="certificate"):
        made.check(NAME)
    assert registry.seen == []


def test_our_certificate_is_shown_where_it_is_asked_for(tmp_path: Path) -> None:
    with eppkit.serving(tmp_path, ask_certificate=True) as registry:
        without = Account(
            "127.0.0.1",
            registry.port,
            eppkit.CLIENT,
            eppkit.PASSWORD,
            ca_file=tmp_path / "server.pem",
            timeout=5.0,
        )
        shown = replace(
            without, certificate_file=tmp_path / "client.pem", key_file=tmp_path / "client.key"
        )
        assert Epp(shown, registrant="", contacts=()).check(NAME)
        assert "client" in registry.certificates[-1]
        with pytest.raises(RegistrarAway):
            Epp(without, registrant="", contacts=()).check(NAME)


def test_a_registrar_that_is_not_there_is_away(options: Settings) -> None:
    made = configured(msgspec.structs.replace(options, epp_port=1))
    assert made is not None
    with pytest.raises(RegistrarAway, match="can't be reached"):
        made.check(NAME)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"<html/>",
        b"<a",
        b'<!DOCTYPE x [<!ENTITY a "aaaa">]><epp xmlns="urn:ietf:params:xml:ns:epp-1.0">&a;</epp>',
        b'<epp xmlns="urn:ietf:params:xml:ns:epp-1.0"><response/></epp>',
    ],
)
def test_what_is_no_epp_is_refused(data: bytes) -> None:
    with pytest.raises(RegistrarAway):
        eppxml.parse(data)


def test_the_configured_registrar() -> None:
    assert configured(Settings()) is None
    assert isinstance(configured(Settings(registrar=RegistrarKind.MANUAL)), Manual)
    with pytest.raises(ConfigurationError, match="epp_host"):
        configured(Settings(registrar=RegistrarKind.EPP))


@pytest.mark.parametrize("server", ["NS1.fleet.net", "ns1.fleet.net.", "ns 1"])
def test_name_servers_are_written_as_the_registry_tells_them(server: str) -> None:
    options = Settings(registrar=RegistrarKind.MANUAL, nameservers=(server,))
    with pytest.raises(ConfigurationError, match="nameservers"):
        configured(options)


def test_contacts_are_named(options: Settings) -> None:
    for wrong in ("boss:X", "admin:", "X"):
        with pytest.raises(ConfigurationError, match="epp_contacts"):
            configured(msgspec.structs.replace(options, epp_contacts=(wrong,)))
