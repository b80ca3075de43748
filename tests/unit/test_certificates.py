"""Where certificates come from, which one a host serves with, and what is said of it."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from sqlmodel import select
from storekit import Store

from orchestrator.conditions import Reason, Status, Type
from orchestrator.db import reading, writing
from orchestrator.dns.resolver import Resolver
from orchestrator.errors import ConfigurationError
from orchestrator.issuers.authority import Authority
from orchestrator.issuers.files import Files
from orchestrator.issuers.issued import IssuanceError, Issued, key_text
from orchestrator.models import AcmeAccount, Certificate, Condition, Host, Issuance, utcnow
from orchestrator.services import certificates, conditions, hosts, issuances
from orchestrator.settings import CertificateSource
from orchestrator.spec import carried
from orchestrator.work.renewals import Renewals

NAMES = ("mx1.fleetlab.net", "ip-198-51-100-21.fleetlab.net")
AUTHORITY, FILES, ACME = CertificateSource


def pair(
    *names: str, key: ec.EllipticCurvePrivateKey | None = None, start: float = -1, end: float = 89
) -> tuple[str, str]:
    """A self-signed certificate and its key; days from now."""
    key, now = key or ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "somebody")])
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now + timedelta(days=start))
        .not_valid_after(now + timedelta(days=end))
        .add_extension(x509.SubjectAlternativeName(list(map(x509.DNSName, names))), False)
        .sign(key, hashes.SHA256())
    )
    return certificate.public_bytes(serialization.Encoding.PEM).decode(), key_text(key)


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    chain, key = pair("ca")
    (tmp_path / "own.pem").write_text(chain)
    (tmp_path / "own.key").write_text(key)
    return Authority(tmp_path / "own.pem", tmp_path / "own.key")


@pytest.fixture
def host(store: Store) -> Host:
    made = store.host()
    store.pool(made, "198.51.100.21")
    return made


class Plane:
    """One control plane's view of a host's certificate."""

    def __init__(self, store: Store, authority: Authority, host: Host) -> None:
        self.store, self.authority, self.host = store, authority, host
        self.source = AUTHORITY

    def run_pass(self) -> bool:
        """What a pass does; gives whether it had to write."""
        with reading(self.store.engine) as session:
            own = carried(session, self.host)
            settled = certificates.settled(session, self.source, self.host, own)
        if not settled:
            with writing(self.store.engine) as session:
                certificates.ensure(
                    session, self.store.vault, self.source, self.authority, self.host
                )
        return not settled

    def renewals(self) -> Renewals:
        directory = self.store.settings.master_key_file.parent / "certificates"
        directory.mkdir(exist_ok=True)
        settings = msgspec.structs.replace(
            self.store.settings,
            certificate_source=self.source,
            certificate_directory=directory,
            acme_directory_url="https://127.0.0.1:9/dir",
            acme_retry=1000.0,
        )
        return Renewals(self.store.engine, settings, self.store.vault, Resolver(["127.0.0.1"]))

    def check(self) -> None:
        """See to the certificate, as if its time had come."""
        self.change(Issuance, due_at=utcnow())
        self.renewals().check(self.host.id)

    def put(self, chain: str, key: str) -> None:
        directory = self.store.settings.master_key_file.parent / "certificates"
        directory.mkdir(exist_ok=True)
        (directory / f"{self.host.hostname}.pem").write_text(chain)
        (directory / f"{self.host.hostname}.key").write_text(key)

    def change(self, table: type[Certificate] | type[Issuance], **values: object) -> None:
        with writing(self.store.engine) as session:
            row = session.exec(select(table).where(table.host_id == self.host.id)).one()
            for name, value in values.items():
                setattr(row, name, value)

    @property
    def row(self) -> Certificate:
        with reading(self.store.engine) as session:
            return session.exec(select(Certificate)).one()

    @property
    def task(self) -> Issuance:
        with reading(self.store.engine) as session:
            return session.exec(select(Issuance)).one()

    @property
    def condition(self) -> Condition:
        with reading(self.store.engine) as session:
            known = conditions.get_all(session, [self.host.id])
        return known[self.host.id, Type.CERTIFICATE_VALID]


@pytest.fixture
def plane(store: Store, authority: Authority, host: Host) -> Plane:
    return Plane(store, authority, host)


def test_the_ca_signs_in_the_pass_and_then_nothing_is_written(plane: Plane) -> None:
    assert plane.run_pass()
    assert plane.row.names == [*NAMES, "198.51.100.21"]
    assert plane.condition.status is Status.TRUE
    assert f"{plane.row.not_after:%Y-%m-%d}" in plane.condition.message
    assert not plane.run_pass()
    plane.renewals().judge(plane.host.id)
    assert plane.condition.status is Status.TRUE


def test_new_names_and_the_last_third_make_a_new_one(plane: Plane) -> None:
    plane.run_pass()
    plane.store.pool(plane.host, "198.51.100.22")
    assert plane.run_pass()
    assert "198.51.100.22" in plane.row.names
    before = plane.row
    assert before.renew_at - utcnow() < timedelta(days=60)
    plane.change(Certificate, renew_at=utcnow())
    assert plane.run_pass()
    assert plane.row.id != before.id


def test_renewal_by_command(plane: Plane) -> None:
    plane.run_pass()
    before = plane.row.chain
    with writing(plane.store.engine) as session:
        certificates.renew(session, session.get_one(Host, plane.host.id))
    assert plane.run_pass()
    assert plane.row.chain != before


def test_an_expired_one_is_told(plane: Plane) -> None:
    plane.run_pass()
    plane.change(Certificate, not_after=utcnow())
    plane.check()
    assert (plane.condition.status, plane.condition.reason) == (Status.FALSE, Reason.EXPIRED)


def test_the_ca_steps_in_until_files_come(plane: Plane) -> None:
    plane.source = FILES
    plane.run_pass()
    assert plane.row.source is AUTHORITY
    assert plane.condition.reason is Reason.ISSUANCE_PENDING
    plane.check()
    assert (plane.condition.status, plane.condition.reason) == (
        Status.FALSE,
        Reason.FILE_UNUSABLE,
    )
    assert "mx1.fleetlab.net.pem can't be read" in plane.condition.message
    chain, key = pair("*.fleetlab.net")
    plane.put(f"left over by a tool\n{chain}", key)
    plane.check()
    assert (plane.row.source, plane.row.chain, plane.row.names) == (FILES, chain, list(NAMES))
    assert plane.condition.status is Status.TRUE
    assert not plane.run_pass()
    kept = plane.row.id
    plane.check()
    assert plane.row.id == kept, "the same file makes no new certificate"


def test_a_file_that_is_bad_takes_nothing_away(plane: Plane) -> None:
    plane.source = FILES
    plane.put(*pair(*NAMES))
    plane.run_pass()
    plane.check()
    good = plane.row.chain
    plane.put(pair(*NAMES)[0], pair(*NAMES)[1])
    plane.check()
    assert plane.row.chain == good
    assert (plane.condition.status, plane.condition.known) == (Status.UNKNOWN, Status.TRUE)
    assert "not the certificate's" in plane.condition.message
    plane.change(Certificate, not_after=utcnow())
    assert plane.run_pass(), "expired without a successor: the CA steps in"
    assert plane.row.source is AUTHORITY
    assert plane.condition.status is Status.FALSE


BAD: dict[str, tuple[Callable[[], tuple[str, str]], Reason, str]] = {
    "no certificate": (lambda: ("x", pair(*NAMES)[1]), Reason.FILE_UNUSABLE, "no certificate"),
    "no key": (lambda: (pair(*NAMES)[0], "x"), Reason.FILE_UNUSABLE, "no key"),
    "another key": (
        lambda: (pair(*NAMES)[0], pair(*NAMES)[1]),
        Reason.FILE_UNUSABLE,
        "not the certificate's",
    ),
    "expired": (lambda: pair(*NAMES, start=-9, end=-1), Reason.FILE_UNUSABLE, "expired on"),
    "too early": (lambda: pair(*NAMES, start=1), Reason.FILE_UNUSABLE, "not valid before"),
    "a name missing": (lambda: pair(NAMES[0]), Reason.NAMES_MISSING, f"not for {NAMES[1]}"),
    "another's": (lambda: pair("mx2.fleetlab.net"), Reason.NAMES_MISSING, NAMES[0]),
    "too wide a wildcard": (lambda: pair("*.net"), Reason.NAMES_MISSING, NAMES[0]),
}


@pytest.mark.parametrize("kind", BAD)
def test_files_that_no_host_may_have(tmp_path: Path, kind: str) -> None:
    make, reason, words = BAD[kind]
    chain, key = make()
    (tmp_path / f"{NAMES[0]}.pem").write_text(chain)
    (tmp_path / f"{NAMES[0]}.key").write_text(key)
    with pytest.raises(IssuanceError, match=words) as caught:
        Files(tmp_path).issue(NAMES)
    assert caught.value.reason is reason
    assert "PRIVATE KEY" not in str(caught.value)


def test_a_ca_that_does_not_answer_is_asked_less_and_less(plane: Plane) -> None:
    plane.source = ACME
    plane.run_pass()
    waits = []
    for failures in range(1, 4):
        plane.check()
        assert plane.task.failures == failures
        waits.append((plane.task.due_at - utcnow()).total_seconds())
    assert 490 < waits[0] < 1001 < waits[2] < 4001
    assert (plane.condition.status, plane.condition.reason) == (
        Status.FALSE,
        Reason.CA_UNREACHABLE,
    )
    assert plane.row.source is AUTHORITY, "the host serves all the same"
    before = plane.task.due_at
    assert not plane.run_pass()
    plane.renewals().check(plane.host.id)
    assert (plane.task.failures, plane.task.due_at) == (3, before), "it is not due"
    # Other names are another wish: asked for at once.
    plane.store.pool(plane.host, "198.51.100.22")
    assert plane.run_pass()
    assert plane.task.failures == 0
    assert plane.task.due_at <= utcnow()


def test_the_account_key_is_made_once_and_encrypted(plane: Plane) -> None:
    plane.source = ACME
    plane.run_pass()
    keys = {plane.renewals()._account_key() for _ in range(2)}
    with reading(plane.store.engine) as session:
        stored = session.exec(select(AcmeAccount)).one().private_key
    assert len(keys) == 1
    assert "PRIVATE KEY" not in stored


def acme_task(plane: Plane) -> issuances.Task:
    plane.source = ACME
    plane.run_pass()
    with writing(plane.store.engine) as session:
        task = issuances.take(session, ACME, plane.host.id, utcnow())
    assert task is not None
    assert (task.names, task.wanted) == (NAMES, True)
    return task


def deliver(plane: Plane, task: issuances.Task, days: float = 89) -> None:
    chain, key = pair(*NAMES, end=days)
    now = utcnow()
    issued = Issued(chain, key, now - timedelta(days=1), now + timedelta(days=days))
    with writing(plane.store.engine) as session:
        issuances.done(session, plane.store.vault, ACME, task, issued, now=now)


def test_one_order_at_a_time(plane: Plane) -> None:
    task = acme_task(plane)
    with writing(plane.store.engine) as session:
        assert issuances.take(session, ACME, plane.host.id, utcnow()) is None
        assert not issuances.due(session, utcnow(), 4)
        assert issuances.due(session, utcnow() + issuances.CLAIM, 4) == [plane.host.id]
    deliver(plane, task)
    assert plane.row.source is ACME
    assert plane.condition.status is Status.TRUE


def test_a_delivered_certificate_makes_a_pass_due_and_is_kept(plane: Plane) -> None:
    task = acme_task(plane)
    with writing(plane.store.engine) as session:
        session.get_one(Host, plane.host.id).due_at = utcnow() + timedelta(days=1)
    deliver(plane, task)
    with reading(plane.store.engine) as session:
        assert session.get_one(Host, plane.host.id).due_at <= utcnow()
    assert not plane.run_pass()
    plane.change(Issuance, due_at=utcnow())
    with writing(plane.store.engine) as session:
        again = issuances.take(session, ACME, plane.host.id, utcnow())
    assert again is not None
    assert not again.wanted


def test_what_was_ordered_for_other_names_does_not_come_into_force(plane: Plane) -> None:
    task = acme_task(plane)
    plane.store.pool(plane.host, "198.51.100.22")
    plane.run_pass()
    deliver(plane, task)
    assert plane.row.source is AUTHORITY
    assert plane.task.due_at <= utcnow()


def test_the_last_third_is_when_acme_is_asked_again(plane: Plane) -> None:
    deliver(plane, acme_task(plane))
    plane.change(Certificate, renew_at=utcnow())
    assert not plane.run_pass(), "a pass never waits for a CA"
    plane.check()
    assert (plane.condition.status, plane.condition.known) == (Status.UNKNOWN, Status.TRUE)


def test_back_to_the_authority(plane: Plane) -> None:
    deliver(plane, acme_task(plane))
    plane.source = AUTHORITY
    assert plane.run_pass()
    assert plane.row.source is AUTHORITY
    assert plane.condition.status is Status.TRUE


def test_a_host_goes_with_its_certificates(plane: Plane) -> None:
    plane.run_pass()
    with writing(plane.store.engine) as session:
        hosts.remove(session, session.get_one(Host, plane.host.id))
    with reading(plane.store.engine) as session:
        assert not session.exec(select(Issuance)).all()
        assert not session.exec(select(Certificate)).all()


def test_acme_needs_a_server(plane: Plane) -> None:
    plane.source = ACME
    settings = msgspec.structs.replace(plane.store.settings, certificate_source=ACME)
    with pytest.raises(ConfigurationError, match="acme_directory_url"):
        Renewals(plane.store.engine, settings, plane.store.vault, Resolver(["127.0.0.1"]))
