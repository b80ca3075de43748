"""Programs that know nothing of Mailfleet agree: swaks, mbsync, curl, dig."""

import re
import socket
import ssl
import subprocess
import uuid
from pathlib import Path
from typing import Any

import pytest
from labkit import Machine, Operator, wait_for

pytestmark = pytest.mark.lab


def password(operator: Operator, email: str) -> str:
    return operator.ok("mailfleet", "mailboxes", "password", email, "--workspace", "acme")


def swaks(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = ["swaks", "--timeout", "20", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def login(operator: Operator, lab: dict[str, Any], server: str, email: str) -> list[str]:
    return [
        *("--server", server, "--from", email, "--to", lab["world"]["mailbox"]),
        *("--auth", "PLAIN", "--auth-user", email),
        *("--auth-password", password(operator, email)),
        *("--tls-verify", "--tls-ca-path", lab["ca"], "--header", f"From: {email}"),
    ]


@pytest.mark.parametrize("mode", [("--tls", "--port", "587"), ("--tlsc", "--port", "465")])
def test_swaks_submits_over_starttls_and_tls(
    operator: Operator, lab: dict[str, Any], server: str, email: str, mode: tuple[str, ...]
) -> None:
    done = swaks(*login(operator, lab, server, email), *mode)
    assert done.returncode == 0, done.stdout
    assert re.search(r"250 2\.0\.0 Ok: queued", done.stdout)


def test_a_password_is_not_asked_for_in_clear(server: str) -> None:
    done = swaks("--server", server, "--port", "587", "--quit-after", "EHLO")
    assert "AUTH" not in done.stdout
    assert "STARTTLS" in done.stdout


def test_a_wrong_password_is_refused(lab: dict[str, Any], server: str, email: str) -> None:
    done = swaks(
        *("--server", server, "--port", "587", "--tls", "--to", lab["world"]["mailbox"]),
        *("--from", email, "--auth", "PLAIN", "--auth-user", email, "--auth-password", "wrong"),
    )
    assert "535 5.7.8" in done.stdout


@pytest.mark.parametrize(
    "forged",
    [
        "carol@acme-mail.net",  # somebody else of the same tenant
        "alice@bring-your-own.net",  # another tenant's domain
        "",  # the null sender
    ],
)
def test_another_envelope_sender_is_refused(
    operator: Operator, lab: dict[str, Any], server: str, email: str, forged: str
) -> None:
    done = swaks(
        *login(operator, lab, server, email), "--from", forged or "<>", "--tls", "--port", "587"
    )
    assert done.returncode != 0
    assert re.search(r"<[~*]\* 5\d\d 5\.7\.1", done.stdout), done.stdout


@pytest.mark.parametrize(
    "header",
    [
        "From: carol@acme-mail.net",
        "From: {own}, carol@acme-mail.net",
        'From: "{own}" <carol@acme-mail.net>',
        "From: {own}\\nFrom: carol@acme-mail.net",
        "From: {own} (x) <carol@other.net>",
        "From: undisclosed:;",
    ],
)
def test_another_from_header_is_refused(
    operator: Operator, lab: dict[str, Any], server: str, email: str, header: str
) -> None:
    arguments = [
        *("--server", server, "--port", "587", "--tls", "--from", email),
        *("--to", lab["world"]["mailbox"], "--auth", "PLAIN", "--auth-user", email),
        *("--auth-password", password(operator, email)),
        *("--data", header.format(own=email) + "\\nTo: x@y.net\\nSubject: forged\\n\\nbody\\n"),
    ]
    done = swaks(*arguments)
    assert re.search(r"<[~*]\* 5\d\d 5\.7\.1", done.stdout), done.stdout


def test_nobody_relays_without_a_login(lab: dict[str, Any], server: str, machine: Machine) -> None:
    for host in (server, machine.described["address"]):
        done = swaks(
            *("--server", host, "--port", "25", "--from", "spam@worldpost.org"),
            *("--to", lab["world"]["mailbox"]),
        )
        assert re.search(r"<[~*]\* 5\d\d 5\.7\.1", done.stdout), done.stdout


def test_an_unknown_recipient_is_refused_at_once(server: str) -> None:
    done = swaks(
        *("--server", server, "--port", "25", "--from", "a@worldpost.org"),
        *("--to", "nobody@acme-mail.net"),
    )
    assert "550 5.1.1" in done.stdout


@pytest.mark.parametrize("end", [b"\n.\n", b"\n.\r\n", b"\r\n.\n"])
def test_a_bare_newline_smuggles_nothing(
    operator: Operator, server: str, email: str, end: bytes
) -> None:
    """A second message behind <LF>.<LF> must not come to exist (SMTP smuggling)."""
    mark = uuid.uuid4().hex
    with socket.create_connection((server, 25), 20) as connection:
        talk = connection.makefile("rwb")

        def say(line: bytes) -> bytes:
            talk.write(line)
            talk.flush()
            answer = talk.readline()
            while answer[3:4] == b"-":
                answer = talk.readline()
            return answer

        talk.readline()
        say(b"EHLO world.worldpost.org\r\n")
        say(b"MAIL FROM:<walter@worldpost.org>\r\n")
        assert say(b"RCPT TO:<" + email.encode() + b">\r\n").startswith(b"250")
        assert say(b"DATA\r\n").startswith(b"354")
        smuggled = b"MAIL FROM:<ceo@worldpost.org>\r\nRCPT TO:<%s>\r\nDATA\r\nSubject: %s\r\n\r\nx"
        text = b"Subject: outer\r\n\r\nhello" + end + smuggled % (email.encode(), mark.encode())
        answer = say(text + b"\r\n.\r\n")
    assert answer.startswith((b"521", b"550", b"554")), answer
    assert mark not in inbox(operator, server, email)


def inbox(operator: Operator, server: str, email: str) -> str:
    tls = ssl.create_default_context()
    tls.check_hostname = False
    tls.verify_mode = ssl.CERT_NONE
    import imaplib

    with imaplib.IMAP4_SSL(server, 993, ssl_context=tls) as client:
        client.login(email, password(operator, email))
        client.select("INBOX", readonly=True)
        _, data = client.fetch("1:*", "(BODY.PEEK[HEADER.FIELDS (SUBJECT)])")
        return repr(data)


def test_curl_and_mbsync_read_imap(
    operator: Operator, lab: dict[str, Any], server: str, email: str, tmp_path: Path
) -> None:
    secret = password(operator, email)
    netrc = tmp_path / "netrc"
    netrc.write_text(f"machine {server} login {email} password {secret}\n")
    listed = subprocess.run(
        ["curl", "-sS", "--cacert", lab["ca"], "--netrc-file", str(netrc), f"imaps://{server}/"],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert "INBOX" in listed.stdout
    (tmp_path / "mail").mkdir()
    # mbsync matches no IP among a certificate's names; the certificate itself it does.
    own = tmp_path / "server.pem"
    own.write_text(ssl.get_server_certificate((server, 993), ca_certs=lab["ca"]))
    config = tmp_path / "mbsyncrc"
    config.write_text(
        f"IMAPAccount a\nHost {server}\nUser {email}\nPass {secret}\nSSLType IMAPS\n"
        f"CertificateFile {own}\n\nIMAPStore far\nAccount a\n\n"
        f"MaildirStore near\nPath {tmp_path}/mail/\nInbox {tmp_path}/mail/INBOX\n\n"
        "Channel all\nFar :far:\nNear :near:\nPatterns INBOX\nCreate Near\nSyncState *\n"
    )
    subprocess.run(
        ["mbsync", "-c", str(config), "all"], check=True, timeout=60, capture_output=True
    )
    fetched = [path for path in (tmp_path / "mail" / "INBOX").rglob("*") if path.is_file()]
    assert any("Thank you, it arrived" in path.read_text(errors="replace") for path in fetched)


def test_dig_sees_the_records(lab: dict[str, Any], server: str, machine: Machine) -> None:
    def dig(*question: str) -> str:
        command = ["dig", "+short", f"@{lab['resolver']}", *question]
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
        return done.stdout

    assert f"10 {machine.described['hostname']}." in dig("acme-mail.net", "MX")
    assert dig("acme-mail.net", "TXT").count("v=spf1") == 1
    assert f"ip4:{server}" in dig("acme-mail.net", "TXT")
    assert "v=DMARC1" in dig("_dmarc.acme-mail.net", "TXT")
    name = dig("-x", server).strip()
    assert name
    assert dig(name, "A").strip() == server


def test_egress_is_proven_for_every_address(operator: Operator, machine: Machine) -> None:
    def proven() -> set[str]:
        lines = operator.json("reconcile", "status")
        return {
            line["subject"]
            for line in lines
            if line["condition"] == "EgressProven" and line["status"] == "True"
        }

    wanted = set(machine.described["dedicated_ips"])
    wait_for("egress from every address", lambda: wanted <= proven(), 120)
