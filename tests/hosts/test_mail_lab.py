"""Submission and IMAP against the lab's world: a real Postfix and a real Dovecot."""

import dataclasses
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from imapclient import IMAPClient

from orchestrator.confined import Confined
from orchestrator.errors import NotFound, Upstream
from orchestrator.mail import imap, reading, submission
from orchestrator.mail.imap import ImapClient
from orchestrator.mail.mime import prepare
from orchestrator.mail.types import (
    AttachmentContent,
    FolderPage,
    MailboxAccess,
    MessageDetail,
    MessageSummary,
    OutgoingAttachment,
    OutgoingMessage,
    Submission,
)

pytestmark = pytest.mark.lab


@pytest.fixture
def access(lab: dict[str, Any]) -> MailboxAccess:
    world = lab["world"]
    return MailboxAccess(
        world["mailbox"], world["password"], world["hostname"], world["address"], Path(lab["ca"])
    )


@pytest.fixture
def client(access: MailboxAccess) -> Iterator[IMAPClient]:
    with ImapClient(access) as connected:
        connected.plain_login(access.email, access.password)
        yield connected


@pytest.fixture
def folder(client: IMAPClient) -> Iterator[str]:
    """A folder of its own, with a name that needs quoting and modified UTF-7."""
    name = f'Entwürfe & "日本" {uuid.uuid4().hex[:8]}'
    client.create_folder(name)
    yield name
    client.delete_folder(name)


SMTP, IMAP, CONFINED = submission.connections(), imap.connections(), Confined()


@pytest.fixture(scope="module", autouse=True)
def hung_up() -> Iterator[None]:
    yield
    SMTP.close()
    IMAP.close()
    CONFINED.close()


def submit(access: MailboxAccess, message: OutgoingMessage) -> Submission:
    prepared = prepare(access.email, message, size_limit=10_000_000)
    return submission.submit(SMTP, access, prepared)


def list_messages(
    access: MailboxAccess, *, folder: str, limit: int, before: int | None
) -> FolderPage:
    return reading.list_messages(IMAP, access, folder=folder, limit=limit, before=before)


def fetch_message(
    access: MailboxAccess, *, folder: str, uid: int, mark_seen: bool
) -> MessageDetail:
    source = reading.fetch_source(IMAP, access, folder=folder, uid=uid, mark_seen=mark_seen)
    return reading.detail(CONFINED, source)


def attachment(access: MailboxAccess, uid: int, number: int) -> AttachmentContent:
    source = reading.fetch_source(IMAP, access, folder="INBOX", uid=uid)
    return reading.attachment(CONFINED, source, number)


def simple(number: int) -> bytes:
    return b"Subject: number %d\r\nFrom: a@b.com\r\n\r\nbody %d\r\n" % (number, number)


def pages(access: MailboxAccess, folder: str, limit: int) -> list[list[int]]:
    found: list[list[int]] = []
    before: int | None = None
    while True:
        page = list_messages(access, folder=folder, limit=limit, before=before)
        found.append([message.uid for message in page.messages])
        before = page.next_before
        if before is None:
            return found


def test_pages_skip_and_repeat_nothing(
    access: MailboxAccess, client: IMAPClient, folder: str
) -> None:
    assert pages(access, folder, 3) == [[]]
    for number in range(1, 8):
        client.append(folder, simple(number))
    assert pages(access, folder, 3) == [[7, 6, 5], [4, 3, 2], [1]]
    assert pages(access, folder, 7) == [[7, 6, 5, 4, 3, 2, 1]]
    first = list_messages(access, folder=folder, limit=3, before=None)
    assert (first.total, first.next_before) == (7, 5)
    assert first.messages[0].subject == "number 7"
    # Between two pages the bookmark itself, and one beyond it, vanish and one arrives.
    client.select_folder(folder)
    client.delete_messages([5, 4])
    client.expunge()
    client.append(folder, simple(8))
    second = list_messages(access, folder=folder, limit=3, before=first.next_before)
    assert [message.uid for message in second.messages] == [3, 2, 1]
    assert second.next_before is None
    for before, uids in ((1, []), (0, []), (-5, []), (2, [1]), (2**40, [8, 7, 6])):
        page = list_messages(access, folder=folder, limit=3, before=before)
        assert [message.uid for message in page.messages] == uids


def test_reading_marks_nothing_unless_asked(
    access: MailboxAccess, client: IMAPClient, folder: str
) -> None:
    client.append(folder, simple(1))
    list_messages(access, folder=folder, limit=3, before=None)
    detail = fetch_message(access, folder=folder, uid=1, mark_seen=False)
    assert (detail.text, detail.summary.subject) == ("body 1\n", "number 1")
    assert "\\Seen" not in detail.summary.flags
    assert "\\Seen" in fetch_message(access, folder=folder, uid=1, mark_seen=True).summary.flags
    assert "\\Seen" in fetch_message(access, folder=folder, uid=1, mark_seen=False).summary.flags


def test_what_is_not_there(access: MailboxAccess, client: IMAPClient, folder: str) -> None:
    client.append(folder, simple(1))
    for uid in (2, 0, -1, 2**32, 2**70):
        with pytest.raises(NotFound, match="no message"):
            fetch_message(access, folder=folder, uid=uid, mark_seen=True)
    with pytest.raises(NotFound, match="no folder"):
        list_messages(access, folder=f"{folder}x", limit=1, before=None)
    with pytest.raises(NotFound, match="no folder"):
        fetch_message(access, folder="../../etc", uid=1, mark_seen=False)


HOSTILE = [
    b"Subject: =?utf-8?b?!!!?= =?x?q?=ff?=\r\nFrom: (((\r\nDate: never\r\n\r\n\xff\xfe",
    b"Content-Type: multipart/mixed; boundary=a\r\n\r\n" + b"--a\r\n\r\n\r\n" * 800,
    b"\r\n",
    b"To: " + b"x@y.com, " * 20_000 + b"\r\nSubject: " + b"y" * 100_000 + b"\r\n\r\n",
    "Subject: Grüße\r\n\r\nohne Kodierung ß".encode(),
]


def test_any_message_can_be_listed_and_read(
    access: MailboxAccess, client: IMAPClient, folder: str
) -> None:
    for raw in HOSTILE:
        client.append(folder, raw)
    page = list_messages(access, folder=folder, limit=100, before=None)
    assert [message.uid for message in page.messages] == [5, 4, 3, 2, 1]
    assert page.messages[0].subject == "Grüße"
    # A Date that can't be read is replaced by the time of arrival.
    assert all(message.date and message.date.tzinfo for message in page.messages)
    for uid in range(1, 6):
        fetch_message(access, folder=folder, uid=uid, mark_seen=False)
    assert fetch_message(access, folder=folder, uid=5, mark_seen=False).text == "ohne Kodierung ß"


def test_a_submitted_message_is_read_back(access: MailboxAccess) -> None:
    subject = f"Grüße {uuid.uuid4().hex}"
    sent = submit(
        access,
        OutgoingMessage(
            (access.email,),
            subject,
            text="Hallo ß\n.\n..\nEnde\n",
            html="<p>ß</p>",
            from_name="Wörld, Inc.",
            attachments=(
                OutgoingAttachment("größe.bin", "application/octet-stream", bytes(range(256))),
                OutgoingAttachment("logo.png", "image/png", b"\x89PNG", "logo"),
            ),
        ),
    )
    assert sent.accepted == (access.email,)
    assert sent.rejected == ()
    assert sent.response.startswith("250 2.0.0 Ok: queued as ")
    arrived = arrival(access, subject)
    assert arrived.message_id == sent.message_id
    assert arrived.sender == (f'"Wörld, Inc." <{access.email}>',)
    detail = fetch_message(access, folder="INBOX", uid=arrived.uid, mark_seen=False)
    assert detail.text == "Hallo ß\n.\n..\nEnde\n"
    assert (detail.html or "").strip() == "<p>ß</p>"
    assert [(a.filename, a.size) for a in detail.attachments] == [
        ("logo.png", 4),
        ("größe.bin", 256),
    ]
    assert attachment(access, arrived.uid, 2).content == bytes(range(256))
    with pytest.raises(NotFound):
        attachment(access, arrived.uid, 3)


def arrival(access: MailboxAccess, subject: str) -> MessageSummary:
    for _ in range(120):
        page = list_messages(access, folder="INBOX", limit=20, before=None)
        for message in page.messages:
            if message.subject == subject:
                return message
        time.sleep(0.25)
    raise AssertionError("the message did not arrive within 30 s")


@pytest.mark.parametrize(
    ("change", "imap", "smtp"),
    [
        ({"password": "wrong"}, "AUTHENTICATIONFAILED", "535 5.7.8"),
        ({"host": "mx1.fleetlab.net"}, "CERTIFICATE_VERIFY", "CERTIFICATE_VERIFY"),
        ({"imap_port": 9, "submission_port": 9}, "refused", "refused"),
    ],
)
def test_refusals_are_told(
    access: MailboxAccess, change: dict[str, Any], imap: str, smtp: str
) -> None:
    broken = dataclasses.replace(access, **change)
    with pytest.raises(Upstream, match=imap) as by_imap:
        list_messages(broken, folder="INBOX", limit=1, before=None)
    with pytest.raises(Upstream, match=smtp) as by_smtp:
        submit(broken, OutgoingMessage((access.email,), "never", text="sent"))
    assert (by_imap.value.service, by_smtp.value.service) == ("imap", "smtp")
    assert access.password not in f"{by_imap.value} {by_smtp.value}"


def test_folders_are_told_with_what_is_in_them(
    access: MailboxAccess, client: IMAPClient, folder: str
) -> None:
    client.append(folder, simple(1), flags=["\\Seen"])
    client.append(folder, simple(2))
    found = {entry.name: entry for entry in reading.list_folders(IMAP, access)}
    assert next(iter(found)) == "INBOX"
    assert (found[folder].total, found[folder].unseen) == (2, 1)
    assert found[folder].special_use is None


def test_a_page_is_found_among_gaps(access: MailboxAccess, client: IMAPClient, folder: str) -> None:
    for number in range(1, 201):
        client.append(folder, simple(number))
    client.select_folder(folder)
    client.delete_messages([uid for uid in range(1, 201) if uid % 7])
    client.expunge()
    left = [uid for uid in range(200, 0, -1) if uid % 7 == 0]
    assert [uid for page in pages(access, folder, 5) for uid in page] == left
    for before in range(1, 202):
        page = list_messages(access, folder=folder, limit=3, before=before)
        assert [message.uid for message in page.messages] == [u for u in left if u < before][:3]


def test_sessions_are_kept_and_replaced(
    access: MailboxAccess, client: IMAPClient, folder: str
) -> None:
    client.append(folder, simple(1))
    pool = imap.connections()
    opened: list[ImapClient] = []
    for _ in range(3):
        reading.list_messages(pool, access, folder=folder, limit=1, before=None)
        pool.run(access, opened.append)
    assert len({id(session) for session in opened}) == 1
    opened[0].socket().close()
    page = reading.list_messages(pool, access, folder=folder, limit=1, before=None)
    assert page.total == 1
    with pytest.raises(Upstream, match="AUTHENTICATIONFAILED"):
        reading.list_folders(pool, dataclasses.replace(access, password="wrong"))
    pool.close()


def test_a_kept_session_sees_what_others_do_to_its_folder(
    access: MailboxAccess, client: IMAPClient, folder: str
) -> None:
    def seen() -> tuple[int, list[str | None]]:
        page = list_messages(access, folder=folder, limit=2, before=None)
        return page.total, [message.subject for message in page.messages]

    for number in (1, 2, 3):
        client.append(folder, simple(number))
        assert seen() == (number, [f"number {n}" for n in range(number, max(0, number - 2), -1)])
    client.select_folder(folder)
    client.delete_messages([3])
    client.expunge()
    assert seen() == (2, ["number 2", "number 1"])
    client.delete_messages([1, 2])
    client.expunge()
    assert seen() == (0, [])
    client.append(folder, simple(4))
    assert seen() == (1, ["number 4"])
    client.unselect_folder()
    client.delete_folder(folder)
    with pytest.raises(NotFound):
        seen()
    client.create_folder(folder)
    client.append(folder, simple(5))
    assert seen() == (1, ["number 5"])


def test_a_stored_message_is_given_as_it_is(
    access: MailboxAccess, client: IMAPClient, folder: str
) -> None:
    for raw in HOSTILE:
        client.append(folder, raw)
    for uid, raw in enumerate(HOSTILE, 1):
        source = reading.fetch_source(IMAP, access, folder=folder, uid=uid)
        assert source.content == raw
        assert source.size == len(raw)
