"""The probe receiver over real SMTP, with messages that dkimpy signed."""

import smtplib
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass

import dkim
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from orchestrator.mail.dkim_check import KeyUnavailableError, aligned_signature
from orchestrator.mail.probe import build_probe
from orchestrator.mail.receiver import MAX_SIZE, Arrival, ProbeReceiver, plain_ip

DOMAIN = "probe.fleetlab.net"
RECIPIENT = f"egress-t0k_-9@{DOMAIN}"
KEY = rsa.generate_private_key(65537, 2048)
PRIVATE = KEY.private_bytes(
    serialization.Encoding.PEM,
    serialization.PrivateFormat.TraditionalOpenSSL,
    serialization.NoEncryption(),
)
PUBLIC = "".join(
    KEY.public_key()
    .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    .decode()
    .splitlines()[1:-1]
)


@dataclass(frozen=True)
class Answered:
    status: str
    values: tuple[str, ...] = ()


class Keys:
    """Has the key of every selector but ``gone``; DNS fails for the selector ``silent``."""

    def authoritative(self, name: str, rdtype: str) -> Answered:
        assert rdtype == "TXT"
        if name.startswith("silent."):
            return Answered("failed")
        return (
            Answered("absent") if name.startswith("gone.") else Answered("found", (f"p={PUBLIC}",))
        )


def signed(
    sender: str = "probe@mx1.fleetlab.net",
    domain: str = "mx1.fleetlab.net",
    selector: str = "s1",
    content: bytes | None = None,
    **options: object,
) -> bytes:
    raw = content or build_probe(sender, RECIPIENT)
    header = dkim.sign(raw, selector.encode(), domain.encode(), PRIVATE, **options)
    return bytes(header) + raw


@pytest.mark.parametrize(
    ("content", "domain"),
    [
        (signed(), "mx1.fleetlab.net"),
        (signed(domain="fleetlab.net"), "fleetlab.net"),
        (signed(domain="other.net"), None),
        (signed(domain="x.mx1.fleetlab.net"), None),
        (signed(selector="gone"), None),
        (signed(length=True), None),
        (signed(domain="other.net", content=signed()), "mx1.fleetlab.net"),
        (signed(selector="silent", content=signed()), "mx1.fleetlab.net"),
        (signed().replace(b"probe\r\n", b"spoof\r\n"), None),
        (signed().replace(b"leaves this host", b"left this host"), None),
        (b"From: other@mx1.fleetlab.net\r\n" + signed(), None),
        (build_probe("probe@mx1.fleetlab.net", RECIPIENT), None),
        (
            b"DKIM-Signature: v=1; a=; b=\xff; d=mx1.fleetlab.net\r\n"
            b"From: a@mx1.fleetlab.net\r\n\r\n",
            None,
        ),
        (b"", None),
    ],
)
def test_signatures(content: bytes, domain: str | None) -> None:
    assert aligned_signature(content, Keys()) == domain


def test_a_key_that_cannot_be_looked_up_is_neither() -> None:
    with pytest.raises(KeyUnavailableError):
        aligned_signature(signed(selector="silent"), Keys())


class Receiving:
    def __init__(self) -> None:
        self.arrivals: list[Arrival] = []
        self.threads: set[str] = set()
        self.broken = False
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.receiver = ProbeReceiver(
            [("127.0.0.1", self.port), ("::1", self.port)], DOMAIN, self.arrived, Keys()
        )

    def arrived(self, arrival: Arrival) -> None:
        if self.broken:
            raise RuntimeError("the database is away")
        self.threads.add(threading.current_thread().name)
        self.arrivals.append(arrival)

    def client(self, host: str = "127.0.0.1") -> smtplib.SMTP:
        return smtplib.SMTP(host, self.port, local_hostname="out1.acme.com", timeout=10)


@pytest.fixture
def receiving() -> Iterator[Receiving]:
    running = Receiving()
    running.receiver.start()
    yield running
    running.receiver.stop()


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_a_probe_arrives(receiving: Receiving, host: str) -> None:
    with receiving.client(host) as client:
        client.sendmail("probe@mx1.fleetlab.net", [RECIPIENT.upper()], signed())
        client.sendmail("probe@mx1.fleetlab.net", [RECIPIENT], signed(domain="other.net"))
    assert receiving.arrivals == [
        Arrival("T0K_-9", host, "out1.acme.com", "mx1.fleetlab.net"),
        Arrival("t0k_-9", host, "out1.acme.com", None),
    ]
    assert all(name.startswith("probe") for name in receiving.threads), "off the event loop"


@pytest.mark.parametrize(
    "recipient",
    [
        "x@y.com",
        f"egress-@{DOMAIN}",
        f"postmaster@{DOMAIN}",
        "egress-a@other.net",
        f"egress-a b@{DOMAIN}",
    ],
)
def test_nothing_else_is_accepted(receiving: Receiving, recipient: str) -> None:
    with receiving.client() as client:
        client.ehlo()
        client.mail("a@b.com")
        assert client.rcpt(recipient)[0] in {501, 550, 553}
        assert client.docmd("DATA")[0] == 503
    assert receiving.arrivals == []


def test_one_recipient_at_a_time(receiving: Receiving) -> None:
    with receiving.client() as client:
        client.ehlo()
        client.mail("a@b.com")
        assert client.rcpt(RECIPIENT)[0] == 250
        assert client.rcpt(f"egress-other@{DOMAIN}")[0] == 452


def test_size_is_limited(receiving: Receiving) -> None:
    with receiving.client() as client:
        client.ehlo()
        assert client.esmtp_features["size"] == str(MAX_SIZE)
        client.mail("a@b.com")
        client.rcpt(RECIPIENT)
        assert (
            client.data(b"x: y\r\n\r\n" + b"x" * 70 + b"\r\n" + (b"y" * 70 + b"\r\n") * 1000)[0]
            == 552
        )
    assert receiving.arrivals == []


def test_what_cannot_be_recorded_stays_in_the_senders_queue(
    receiving: Receiving, caplog: pytest.LogCaptureFixture
) -> None:
    receiving.broken = True
    with receiving.client() as client, pytest.raises(smtplib.SMTPDataError) as caught:
        client.sendmail("a@b.com", [RECIPIENT], signed())
    assert caught.value.smtp_code == 451
    receiving.broken = False
    with receiving.client() as client, pytest.raises(smtplib.SMTPDataError) as caught:
        client.sendmail("a@b.com", [RECIPIENT], signed(selector="silent"))
    assert caught.value.smtp_code == 451
    assert receiving.arrivals == []


def test_stopping_cuts_clients_off_and_may_be_repeated(receiving: Receiving) -> None:
    with socket.create_connection(("127.0.0.1", receiving.port), 5) as client:
        assert client.recv(1000).startswith(b"220 ")
        receiving.receiver.stop()
        receiving.receiver.stop()
        assert client.recv(1000) == b""
    receiving.receiver.start()
    with receiving.client() as again:
        assert again.noop()[0] == 250


def test_an_address_that_is_taken_lets_none_be_bound(receiving: Receiving) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    second = ProbeReceiver(
        [("127.0.0.1", port), ("127.0.0.1", receiving.port)], DOMAIN, receiving.arrived, Keys()
    )
    with pytest.raises(OSError, match="address already in use"):
        second.start()
    second.stop()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), 1)


@pytest.mark.parametrize(
    ("address", "plain"),
    [
        ("::ffff:198.51.100.1", "198.51.100.1"),
        ("fe80::1%eth0", "fe80::1"),
        ("192.0.2.1", "192.0.2.1"),
    ],
)
def test_addresses_in_plain_form(address: str, plain: str) -> None:
    assert plain_ip(address) == plain
