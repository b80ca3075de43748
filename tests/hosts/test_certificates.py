"""A renewed certificate comes into force without anybody being cut off, on both Debians."""

import smtplib
import ssl
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from cryptography import x509
from imapclient import IMAPClient
from labkit import Machine, Operator, wait_for

pytestmark = pytest.mark.lab

PORTS = IMAPS, SUBMISSIONS = 993, 465


@pytest.fixture
def password(operator: Operator, email: str) -> str:
    return operator.ok("mailfleet", "mailboxes", "password", email, "--workspace", "acme")


@pytest.fixture
def trust(lab: dict[str, Any]) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=lab["ca"])


def serials(server: str) -> set[int]:
    """Of the certificates that new clients are shown by Dovecot and by Postfix."""
    shown = [ssl.get_server_certificate((server, port), timeout=20) for port in PORTS]
    return {x509.load_pem_x509_certificate(one.encode()).serial_number for one in shown}


def in_force(operator: Operator, machine: Machine) -> dict[str, Any]:
    rows = operator.json("mailfleet", "certificates", "list")
    return next(row for row in rows if row["host"] == machine.name)


@contextmanager
def idling(server: str, email: str, password: str, trust: ssl.SSLContext) -> Iterator[IMAPClient]:
    """A client that waits for mail."""
    with IMAPClient(server, ssl_context=trust, timeout=30) as client:
        client.login(email, password)
        client.select_folder("INBOX")
        client.idle()
        yield client


@contextmanager
def in_the_middle_of_data(
    server: str, email: str, password: str, trust: ssl.SSLContext, subject: str
) -> Iterator[smtplib.SMTP_SSL]:
    """A client that has sent half of a message to itself."""
    with smtplib.SMTP_SSL(server, SUBMISSIONS, timeout=30, context=trust) as client:
        client.login(email, password)
        client.mail(email)
        client.rcpt(email)
        assert client.docmd("DATA")[0] == 354
        client.send(f"From: {email}\r\nTo: {email}\r\nSubject: {subject}\r\n\r\nthe one half\r\n")
        yield client


def test_nobody_is_cut_off_by_a_renewal(  # noqa: PLR0917 - fixtures
    operator: Operator,
    machine: Machine,
    server: str,
    email: str,
    password: str,
    trust: ssl.SSLContext,
) -> None:
    before = serials(server)
    subject = f"renewal {uuid.uuid4().hex}"
    with (
        idling(server, email, password, trust) as reader,
        in_the_middle_of_data(server, email, password, trust, subject) as writer,
    ):
        operator.ok("mailfleet", "certificates", "renew", machine.name)
        wait_for("the new certificate", lambda: before.isdisjoint(serials(server)))
        # The old connections go on as if nothing had been.
        writer.send(b"the other half\r\n.\r\n")
        code, words = writer.getreply()
        assert (code, b"queued" in words) == (250, True), words
        wait_for(
            "the message in IDLE",
            lambda: any(line[1:2] == (b"EXISTS",) for line in reader.idle_check(timeout=1)),
        )
        reader.idle_done()
        found = reader.search(["SUBJECT", subject])
        assert len(found) == 1
        body = reader.fetch(found, ["BODY[TEXT]"])[found[0]][b"BODY[TEXT]"]
        assert body == b"the one half\r\nthe other half\r\n"
        reader.delete_messages(found)
        reader.expunge()
    shown = in_force(operator, machine)
    assert (shown["source"], shown["valid"]) == ("authority", "True")
    assert shown["days_left"] in (89, 90)
    assert set(machine.described["dedicated_ips"]) < set(shown["names"])
