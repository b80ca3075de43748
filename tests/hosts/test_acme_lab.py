"""Certificates by ACME: Debian's pebble asks the lab's DNS what we publish there."""

import dataclasses
import socket
import sqlite3
import ssl
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from uuid import UUID

import msgspec
import pebblekit
import pytest
from cryptography import x509
from labkit import ROOT, Machine, Operator, wait_for
from pebblekit import Pebble
from sqlalchemy import Engine

from orchestrator import db, settings
from orchestrator.conditions import Reason, Status, Type
from orchestrator.control import ControlPlane
from orchestrator.dns.publishing import ZoneKey
from orchestrator.dns.resolver import Resolver
from orchestrator.dns.zones import within
from orchestrator.issuers.acme import Acme, new_account_key
from orchestrator.issuers.challenges import Challenges
from orchestrator.issuers.issued import IssuanceError
from orchestrator.models import Host
from orchestrator.secrets import Vault
from orchestrator.services import certificates, conditions, hosts
from orchestrator.settings import CertificateSource

pytestmark = pytest.mark.lab

ZONE = "fleetlab.net"
NAMES = ("acme-test.fleetlab.net", "acme-ip.fleetlab.net")
KEY = new_account_key()


@pytest.fixture(scope="module")
def pebble(lab: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pebble]:
    directory = tmp_path_factory.mktemp("pebble")
    state = ROOT / ".lab"
    with pebblekit.serve(
        directory, state, lab["resolver"], lifetime=86400, nonce_reject=40
    ) as server:
        yield server


@pytest.fixture
def resolver(lab: dict[str, Any]) -> Resolver:
    return Resolver([lab["resolver"]], 3.0)


@pytest.fixture
def key(lab: dict[str, Any]) -> ZoneKey:
    dns = lab["dns"]
    secret = (ROOT / dns["tsig_secret_file"]).read_text().strip()
    return ZoneKey(ZONE, dns["authoritative"], 53, dns["tsig_name"], dns["tsig_algorithm"], secret)


@pytest.fixture
def acme(pebble: Pebble, key: ZoneKey, resolver: Resolver) -> Iterator[Acme]:
    """An account at pebble, by a CA that hands out bad nonces two times in five."""
    proofs = Challenges(lambda name: key if within(name, ZONE) else None, resolver, 3.0)
    yield Acme(pebble.directory_url, "ops@fleetlab.net", pebble.ca_file, lambda: KEY, proofs)
    left = [resolver.authoritative(f"_acme-challenge.{name}", "TXT").values for name in NAMES]
    assert left == [(), ()], "a challenge stays published"


def refused(acme: Acme, *names: str) -> IssuanceError:
    with pytest.raises(IssuanceError) as caught:
        acme.issue(names)
    return caught.value


def test_an_order_is_proven_in_dns_and_signed(acme: Acme, pebble: Pebble) -> None:
    first = acme.issue(NAMES)
    chain = x509.load_pem_x509_certificates(first.chain.encode())
    held = chain[0].extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert set(held.get_values_for_type(x509.DNSName)) == set(NAMES)
    assert not held.get_values_for_type(x509.IPAddress)
    root = x509.load_pem_x509_certificate(pebble.root.encode())
    chain[-1].verify_directly_issued_by(root)
    assert (first.not_after - first.not_before).total_seconds() == pytest.approx(86400, abs=5)
    assert first.not_before < first.renew_at < first.not_after
    # The account is known now: the same key logs in again.
    second = acme.issue(NAMES[:1])
    assert second.private_key != first.private_key


def test_what_the_ca_refuses_is_told_in_its_words(acme: Acme) -> None:
    error = refused(acme, pebblekit.BLOCKED)
    assert error.reason is Reason.ISSUANCE_FAILED
    assert pebblekit.BLOCKED in str(error)
    assert "policy" in str(error).lower()


def test_a_challenge_that_the_ca_does_not_find(acme: Acme, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever stood in between: what the CA says of it is told, and the record goes."""
    from orchestrator.issuers import challenges

    honest = challenges._record
    monkeypatch.setattr(challenges, "_record", lambda name, value: honest(name, value[::-1]))
    error = refused(acme, *NAMES)
    assert error.reason is Reason.ISSUANCE_FAILED
    assert NAMES[0] in str(error)


def test_names_outside_our_zones_are_not_ordered(acme: Acme) -> None:
    error = refused(acme, NAMES[0], "host.bring-your-own.net")
    assert error.reason is Reason.CHALLENGE_NOT_PUBLISHED
    assert "host.bring-your-own.net" in str(error)


def test_a_key_that_the_zone_refuses(acme: Acme, key: ZoneKey, resolver: Resolver) -> None:
    wrong = dataclasses.replace(key, tsig_secret="d3Jvbmcgc2VjcmV0IHdyb25nIHNlY3JldA==")
    acme._proofs = Challenges(lambda name: wrong, resolver, 3.0)
    error = refused(acme, *NAMES)
    assert error.reason is Reason.CHALLENGE_NOT_PUBLISHED


def test_a_ca_that_is_not_there_or_not_believed(acme: Acme, tmp_path: Path) -> None:
    acme._directory_url = "https://127.0.0.1:9/dir"
    assert refused(acme, *NAMES).reason is Reason.CA_UNREACHABLE


def test_a_ca_whose_certificate_is_not_trusted(acme: Acme) -> None:
    acme._ca_file = None
    error = refused(acme, *NAMES)
    assert error.reason is Reason.CA_UNREACHABLE
    assert "CERTIFICATE_VERIFY_FAILED" in str(error)


@pytest.fixture
def plane(
    operator: Operator, pebble: Pebble, tmp_path: Path
) -> Iterator[tuple[ControlPlane, dict[str, UUID]]]:
    """A control plane of the test's own over the lab's hosts, whose source is pebble."""
    ours = settings.load(operator.config, {})
    names = [row["name"] for row in operator.json("mailfleet", "hosts", "list")]
    for name in names:
        operator.ok("mailfleet", "hosts", "pause", name)
    theirs = db.connect(ours.database_url)
    wait_for("the end of the passes", lambda: not held(theirs))
    theirs.dispose()
    copy = tmp_path / "mailfleet.db"
    with closing(sqlite3.connect(ROOT / ".lab" / "mailfleet.db")) as lab_database:
        lab_database.execute("VACUUM INTO ?", (str(copy),))
    ours = msgspec.structs.replace(
        ours,
        database_url=f"sqlite:///{copy}",
        certificate_source=CertificateSource.ACME,
        acme_directory_url=pebble.directory_url,
        acme_ca_file=pebble.ca_file,
    )
    engine = db.connect(ours.database_url)
    with db.writing(engine) as session:
        rows = hosts.list_(session)
        for row in rows:
            hosts.resume(session, row)
    try:
        with ControlPlane(engine, ours, Vault(ours.master_key_file)) as control:
            yield control, {row.name: row.id for row in rows}
    finally:
        engine.dispose()
        for name in names:
            operator.ok("mailfleet", "hosts", "resume", name)
        wait_for("the lab's own certificates", lambda: back(operator))


def held(engine: Engine) -> bool:
    with db.reading(engine) as session:
        return any(row.lease_owner is not None for row in hosts.list_(session))


def back(operator: Operator) -> bool:
    plans = operator.json("reconcile", "plan")
    return all(plan["reason"] is None and not plan["changes"] for plan in plans)


def shown(address: str, name: str, root: str) -> int:
    """The serial number of what Dovecot shows, once a client that trusts pebble believes it."""
    trust = ssl.create_default_context(cadata=root)
    with (
        socket.create_connection((address, 993), 20) as plain,
        trust.wrap_socket(plain, server_hostname=name) as secure,
    ):
        der = secure.getpeercert(binary_form=True)
        assert der is not None
        return x509.load_der_x509_certificate(der).serial_number


def test_hosts_of_both_debians_get_theirs_and_renew_it(
    plane: tuple[ControlPlane, dict[str, UUID]], machine: Machine, pebble: Pebble
) -> None:
    control, ids = plane
    host_id, address = ids[machine.name], machine.described["address"]
    serials = []
    for _ in range(2):
        # The pass asks for it beside going on, and the next one pushes what has come.
        assert control.reconciler.reconcile(host_id).reason is None
        control.renewals.check(host_id)
        with db.writing(control.engine) as session:
            known = conditions.get_all(session, [host_id])[host_id, Type.CERTIFICATE_VALID]
            certificates.renew(session, session.get_one(Host, host_id))
        assert (known.status, known.message[:6]) == (Status.TRUE, "acme, "), known.message
        assert control.reconciler.reconcile(host_id).reason is None
        serials.append(shown(address, machine.described["hostname"], pebble.root))
    assert serials[0] != serials[1]
