"""Certificates by ACME: Debian's pebble asks the lab's DNS what we publish there."""

import dataclasses
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pebblekit
import pytest
from cryptography import x509
from labkit import ROOT, Machine, Operator, wait_for
from pebblekit import Pebble
from planekit import Plane, takeover

from orchestrator.conditions import Reason
from orchestrator.dns.publishing import ZoneKey
from orchestrator.dns.resolver import Resolver
from orchestrator.dns.zones import within
from orchestrator.issuers.acme import Acme, new_account_key
from orchestrator.issuers.challenges import Challenges
from orchestrator.issuers.issued import IssuanceError

pytestmark = pytest.mark.lab

ZONE = "fleetlab.net"
NAMES = ("acme-test.fleetlab.net", "acme-ip.fleetlab.net")
KEY = new_account_key()


@pytest.fixture(scope="module")
def pebble(lab: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pebble]:
    directory = tmp_path_factory.mktemp("pebble")
    state = ROOT / ".lab"
    with pebblekit.serve(
        directory, state, lab["dns"]["authoritative"], lifetime=86400, nonce_reject=40
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
    """Whatever stood in between: what the CA says of it is told, and the record goes.

    It looks at both names at once, and may end the order with what it saw of either.
    """
    from orchestrator.issuers import challenges

    honest = challenges._record
    monkeypatch.setattr(challenges, "_record", lambda name, value: honest(name, value[::-1]))
    error = refused(acme, *NAMES)
    assert error.reason is Reason.ISSUANCE_FAILED
    assert any(f"{name}: Correct value not found" in str(error) for name in NAMES), str(error)


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


@pytest.fixture(scope="module")
def plane(
    operator: Operator, pebble: Pebble, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Plane]:
    """A control plane of its own over the lab's hosts, whose source is pebble."""
    source = {
        "certificate_source": "acme",
        "acme_directory_url": pebble.directory_url,
        "acme_ca_file": str(pebble.ca_file),
    }
    with takeover(operator, tmp_path_factory.mktemp("plane"), **source) as made:
        made.start_reconciler()
        yield made


def serial(machine: Machine, root: str) -> int | None:
    """Of the certificate that Dovecot shows, where a client that trusts pebble believes it."""
    trust = ssl.create_default_context(cadata=root)
    try:
        with (
            socket.create_connection((machine.described["address"], 993), 20) as plain,
            trust.wrap_socket(plain, server_hostname=machine.described["hostname"]) as secure,
        ):
            der = secure.getpeercert(binary_form=True)
    except ssl.SSLCertVerificationError:
        return None
    assert der is not None
    return x509.load_der_x509_certificate(der).serial_number


def test_hosts_of_both_debians_get_theirs_and_renew_it(
    plane: Plane, machine: Machine, pebble: Pebble
) -> None:
    first = wait_for("a certificate", lambda: serial(machine, pebble.root), 180)
    plane.operator.ok("mailfleet", "certificates", "renew", machine.name)
    wait_for("its successor", lambda: serial(machine, pebble.root) not in {None, first}, 180)
    rows = plane.operator.json("mailfleet", "certificates", "list")
    row = next(row for row in rows if row["host"] == machine.name)
    assert (row["source"], row["valid"]) == ("acme", "True"), row
