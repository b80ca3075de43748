"""A representative host for each Debian, and the lab's hosts as places to run their parsers."""

import datetime
import io
import os
import subprocess
import tarfile
import tomllib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from orchestrator.hostspec import (
    AddressSpec,
    ClusterSpec,
    CredentialSpec,
    DkimKeySpec,
    HostSpec,
    MailboxSpec,
    MailStore,
    OsName,
    ProbeSpec,
    RemoteMailboxSpec,
    TlsSpec,
)
from orchestrator.pace import parse

OSES: tuple[OsName, ...] = ("debian12", "debian13")
INVENTORY = Path(__file__).parents[2] / "inventory" / "lab.toml"
PASSWORD_HASH = "{SHA512-CRYPT}$6$rounds=1000$salt$notarealhash"


def make_spec(
    os_name: OsName, *, key: str = "KEY TEXT", certificate: str = "CERTIFICATE TEXT"
) -> HostSpec:
    """A host with two tenants, IPv4 and IPv6 addresses, and a mailbox on another host."""
    hostname = "mx1.fleetlab.net"
    addresses = (
        AddressSpec("198.51.100.21", "out1.fleetlab.net"),
        AddressSpec("198.51.100.22", "out2.fleetlab.net"),
        AddressSpec("2001:db8:51::21", "out3.fleetlab.net"),
    )
    return HostSpec(
        hostname=hostname,
        os=os_name,
        address="198.51.100.11",
        addresses=addresses,
        domains=("acme-mail.net", "xn--bcher-kva.org"),
        dkim_keys=(
            DkimKeySpec("acme-mail.net", "mf1", key),
            DkimKeySpec("acme-mail.net", "mf0", key, signs=False),
            DkimKeySpec(hostname, "host", key),
            DkimKeySpec("xn--bcher-kva.org", "mf1", key),
        ),
        mailboxes=(
            MailboxSpec(
                "alice@acme-mail.net",
                PASSWORD_HASH,
                "198.51.100.21",
                0,
                aliases=("sales@acme-mail.net", "team@xn--bcher-kva.org"),
            ),
            MailboxSpec("bob.o'neil@acme-mail.net", PASSWORD_HASH, "2001:db8:51::21", 1024),
            MailboxSpec("info@xn--bcher-kva.org", PASSWORD_HASH, "198.51.100.22", 512),
            MailboxSpec("movi@acme-mail.net", PASSWORD_HASH, "198.51.100.22", 512, held=True),
        ),
        remote_mailboxes=(
            RemoteMailboxSpec(
                "gone@acme-mail.net",
                "mx2.fleetlab.net",
                former_ip="198.51.100.22",
                aliases=("away@acme-mail.net",),
            ),
            RemoteMailboxSpec("remy@acme-mail.net", "mx2.fleetlab.net"),
        ),
        probes=tuple(ProbeSpec(f"probe-{a.transport}@{hostname}", a.ip) for a in addresses),
        tls=TlsSpec(certificate, key),
        message_size_limit=26_214_400,
        purges=(MailStore("late@acme-mail.net"),),
        cluster=ClusterSpec(
            domains=("news.acme-mail.net", "xn--bcher-kva.org"),
            former_domains=("old.acme-mail.net",),
            credentials=(
                CredentialSpec("app+1@acme,x=y", PASSWORD_HASH),
                CredentialSpec("nobody", PASSWORD_HASH, domains=()),
                CredentialSpec(
                    "webapp-production",
                    PASSWORD_HASH,
                    domains=("news.acme-mail.net",),
                    networks=("203.0.113.0/24", "198.51.100.5", "2001:db8::/32"),
                ),
            ),
            egress_ips=("198.51.100.21", "198.51.100.22"),
            pace=parse("10/10s,max_burst=3"),
        ),
    )


@cache
def _key_and_certificate() -> tuple[str, str]:
    """Made anew for each run, so that no private key stands in the repository."""
    key = rsa.generate_private_key(65537, 1024)  # short, as it proves nothing
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "mx1.fleetlab.net")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    text = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    return text.decode(), certificate.public_bytes(serialization.Encoding.PEM).decode()


@pytest.fixture(params=OSES)
def os_name(request: pytest.FixtureRequest) -> OsName:
    """Each Debian in turn."""
    name: OsName = request.param
    return name


@pytest.fixture
def spec(os_name: OsName) -> HostSpec:
    """The representative host, with placeholders for its secrets."""
    return make_spec(os_name)


@pytest.fixture
def real_spec(os_name: OsName) -> HostSpec:
    """The representative host with a key and a certificate that parse."""
    key, certificate = _key_and_certificate()
    return make_spec(os_name, key=key, certificate=certificate)


@dataclass(frozen=True)
class DaemonHost:
    """A container with the daemons installed. ``directory`` is the test's own."""

    container: str
    directory: str

    def run(
        self, argv: Sequence[str], stdin: bytes | None = None
    ) -> subprocess.CompletedProcess[bytes]:
        """Run a program in it."""
        command = ["docker", "exec", "-i", self.container, *argv]
        return subprocess.run(command, input=stdin, capture_output=True, timeout=60, check=False)

    def put(self, path: str, content: bytes) -> None:
        """Write one file, and the directories above it."""
        self.put_all({path: content})

    def put_all(self, files: dict[str, bytes]) -> None:
        """Write many files in one go; paths are below ``directory``."""
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w") as archive:
            for path, content in files.items():
                entry = tarfile.TarInfo(path.lstrip("/"))
                entry.size, entry.mode = len(content), 0o600
                archive.addfile(entry, io.BytesIO(content))
        done = self.run(["tar", "-C", self.directory, "-xf", "-"], buffer.getvalue())
        assert done.returncode == 0, done.stderr


@pytest.fixture
def daemon_host() -> Iterator[Callable[[OsName], DaemonHost]]:
    """Gives the host that runs a Debian: the lab's, or $MAILFLEET_TEST_HOST_DEBIAN12 (or 13)."""
    used: list[DaemonHost] = []

    def choose(os_name: OsName) -> DaemonHost:
        container = os.environ.get(f"MAILFLEET_TEST_HOST_{os_name.upper()}") or _in_lab(os_name)
        made = subprocess.run(
            ["docker", "exec", container, "mktemp", "-d"],
            capture_output=True,
            text=True,
            check=True,
        )
        host = DaemonHost(container, made.stdout.strip())
        used.append(host)
        return host

    yield choose
    for host in used:
        host.run(["rm", "-rf", host.directory])


def _in_lab(os_name: OsName) -> str:
    lab = tomllib.loads(INVENTORY.read_text())
    name = next(host["name"] for host in lab["hosts"] if host["os"] == os_name)
    return f"{lab['network']['name']}-{name}"
