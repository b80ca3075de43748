"""Submission to a real SMTP server in this process that can be told to refuse and to be silent.

What Postfix answers is tested in the lab (tests/hosts/test_mail_lab.py).
"""

import contextlib
import dataclasses
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from smtpkit import PASSWORD, Server, certificate

from orchestrator.errors import Invalid, Upstream
from orchestrator.mail import imap, submission
from orchestrator.mail.mime import prepare
from orchestrator.mail.reading import list_messages
from orchestrator.mail.types import FolderPage, MailboxAccess, OutgoingMessage, Submission

MESSAGE = OutgoingMessage(("lena@acme.com", "full@acme.com"), "Hi", text=".\r\ndot\n")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with Server.running(tmp_path) as running:
        yield running


def submit(access: MailboxAccess, message: OutgoingMessage) -> Submission:
    prepared = prepare(access.email, message, size_limit=10_000_000)
    with contextlib.closing(submission.connections()) as pool:
        return submission.submit(pool, access, prepared)


def first(access: MailboxAccess, folder: str = "INBOX", limit: int = 1) -> FolderPage:
    with contextlib.closing(imap.connections()) as pool:
        return list_messages(pool, access, folder=folder, limit=limit, before=None)


def refusal(access: MailboxAccess, message: OutgoingMessage = MESSAGE) -> str:
    with pytest.raises(Upstream) as caught:
        submit(access, message)
    assert caught.value.service == "smtp"
    assert PASSWORD not in str(caught.value)
    return str(caught.value)


def test_the_accepted_and_the_rejected_are_told_apart(server: Server) -> None:
    message = dataclasses.replace(MESSAGE, bcc=("lena.two@acme.com",))
    sent = submit(server.access, message)
    assert sent.accepted == ("lena@acme.com", "lena.two@acme.com")
    assert sent.rejected == ("full@acme.com",)
    assert sent.refusals == ("552 5.2.2 Mailbox full",)
    assert sent.response == "250 2.0.0 Ok: queued as 4711"
    (content,) = server.handler.contents
    assert sent.message_id.encode() in content
    assert b"lena.two" not in content
    assert content.endswith(b"\r\n.\r\ndot\r\n"), "dots are stuffed and unstuffed"


def test_nobody_accepted_is_an_error_in_the_servers_words(server: Server) -> None:
    message = dataclasses.replace(MESSAGE, to=("full@acme.com",))
    assert refusal(server.access, message) == "552 5.2.2 Mailbox full"


def test_a_refused_message(server: Server) -> None:
    server.handler.answer = "554-5.7.1 Not your\r\n554 5.7.1 own domain"
    assert refusal(server.access) == "554 5.7.1 Not your 5.7.1 own domain"


def test_a_wrong_password(server: Server) -> None:
    assert refusal(dataclasses.replace(server.access, password="wrong")).startswith("535 ")


def test_a_certificate_for_another_name(server: Server) -> None:
    assert "Hostname mismatch" in refusal(dataclasses.replace(server.access, host="mx2.x.net"))


def test_a_certificate_of_another_authority(server: Server, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    other = certificate(tmp_path / "other")
    text = refusal(dataclasses.replace(server.access, ca_file=other))
    assert "CERTIFICATE_VERIFY_FAILED" in text


def test_an_authority_that_is_not_there(server: Server, tmp_path: Path) -> None:
    assert "No such file" in refusal(
        dataclasses.replace(server.access, ca_file=tmp_path / "none.pem")
    )


def test_a_server_without_auth_plain(tmp_path: Path) -> None:
    with Server.running(tmp_path, offers_auth=False) as server:
        assert "AUTH PLAIN" in refusal(server.access)


def test_a_message_that_cannot_be_built_reaches_nobody(server: Server) -> None:
    with pytest.raises(Invalid):
        submit(server.access, dataclasses.replace(MESSAGE, subject="a\nb"))
    assert server.handler.contents == []


def test_nobody_listens(server: Server) -> None:
    closed = dataclasses.replace(server.access, submission_port=1, imap_port=1)
    assert "refused" in refusal(closed)
    with pytest.raises(Upstream, match="refused"):
        first(closed)


def test_a_silent_server_is_given_up(server: Server) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        access = dataclasses.replace(
            server.access, submission_port=port, imap_port=port, timeout=0.3
        )
        before = time.monotonic()
        assert "timed out" in refusal(access)
        with pytest.raises(Upstream, match="timed out"):
            first(access)
        assert time.monotonic() - before < 5


@pytest.mark.parametrize("folder", ["", "a\r\nb", "a\0", "\ud800", "x" * 2000])
def test_folder_names_are_checked_before_anything_is_sent(server: Server, folder: str) -> None:
    with pytest.raises(Invalid) as caught:
        first(server.access, folder)
    assert caught.value.field == "folder"


@pytest.mark.parametrize("limit", [0, -1])
def test_a_page_holds_something(server: Server, limit: int) -> None:
    with pytest.raises(Invalid):
        first(server.access, limit=limit)
