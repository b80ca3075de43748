"""Reads a tenant's mailbox on its host over IMAP (RFC 3501), as a mail client would."""

import imaplib
import re
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from imapclient import IMAPClient, SocketTimeout
from imapclient.tls import IMAP4_TLS

from orchestrator.errors import Invalid, NotFound, Upstream
from orchestrator.mail.connection import connect, tls_context
from orchestrator.mail.parsing import MAX_BYTES, ParsedHeaders, parse_headers, parse_message
from orchestrator.mail.types import FolderPage, MailboxAccess, MessageDetail, MessageSummary

#: UIDs are 32-bit numbers that aren't zero (RFC 3501 section 2.3.1.1).
_MAX_UID = 2**32 - 1
#: Octets of the shown headers that are fetched for a list.
_HEADER_BYTES = 65_536
_MAX_FOLDER = 1_000
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_LISTED = "BODY.PEEK[HEADER.FIELDS (FROM TO CC SUBJECT DATE MESSAGE-ID)]"


def list_messages(
    access: MailboxAccess, *, folder: str, limit: int, before: int | None
) -> FolderPage:
    """At most ``limit`` messages of the folder, newest (highest UID) first; nothing is marked.

    With ``before``, only messages of lower UIDs. Pages are cut by UID, so messages that arrive
    or vanish between two calls make no message be skipped or shown twice. Raises ``Invalid``
    for a malformed folder name or limit, ``NotFound`` for an unknown folder, ``Upstream``.
    """
    if limit < 1:
        raise Invalid("limit must be at least 1", field="limit")
    highest = _MAX_UID if before is None else min(before - 1, _MAX_UID)
    with _opened(access, folder, readonly=True) as (client, total):
        # "1:4294967295" and never "1:*": a star names the last message even out of the range.
        found = client.search(["UID", f"1:{highest}"]) if highest >= 1 and total else []
        uids = sorted(uid for uid in found if uid <= highest)
        page = uids[-limit:]
        items = ["FLAGS", "RFC822.SIZE", "INTERNALDATE", f"{_LISTED}<0.{_HEADER_BYTES}>"]
        fetched = client.fetch(page, items) if page else {}
    # One that was expunged since the search is left out, but still counts as the page's end.
    messages = tuple(
        _summary(uid, fetched[uid], parse_headers(_content(fetched[uid])))
        for uid in reversed(page)
        if uid in fetched
    )
    return FolderPage(folder, total, messages, page[0] if len(uids) > len(page) else None)


def fetch_message(
    access: MailboxAccess, *, folder: str, uid: int, mark_seen: bool
) -> MessageDetail:
    """One message with its bodies; it is marked as read only if ``mark_seen``.

    Raises ``Invalid`` for a malformed folder name, ``NotFound`` for an unknown folder or UID,
    and ``Upstream``.
    """
    missing = NotFound(f"there is no message {uid} in the folder {folder!r}")
    with _opened(access, folder, readonly=not mark_seen) as (client, _):
        if not 1 <= uid <= _MAX_UID:
            raise missing
        items = ["FLAGS", "RFC822.SIZE", "INTERNALDATE", f"BODY.PEEK[]<0.{MAX_BYTES}>"]
        data = client.fetch([uid], items).get(uid, {})
        if not any(key.startswith(b"BODY[") for key in data):
            raise missing
        if mark_seen:
            client.add_flags([uid], [b"\\Seen"], silent=True)
    parsed = parse_message(_content(data))
    summary = _summary(uid, data, parsed.headers)
    if mark_seen:
        summary = replace(summary, flags=tuple(sorted({*summary.flags, "\\Seen"})))
    return MessageDetail(summary, parsed.text, parsed.html, parsed.attachments)


class _VerifiedTls(IMAP4_TLS):  # type: ignore[misc]  # imapclient ships no types
    """Connects to the address, but believes only a certificate for the name."""

    def __init__(self, access: MailboxAccess) -> None:
        self._access = access
        super().__init__(access.host, access.imap_port, tls_context(access), access.timeout)

    def _create_socket(self, timeout: float | None = None) -> ssl.SSLSocket:
        access = self._access
        connection = connect(access, access.imap_port, access.timeout)
        try:
            return tls_context(access).wrap_socket(connection, server_hostname=access.host)
        except BaseException:
            connection.close()
            raise


class _Client(IMAPClient):  # type: ignore[misc]  # imapclient ships no types
    def __init__(self, access: MailboxAccess) -> None:
        self._access = access
        timeout = SocketTimeout(access.timeout, access.timeout)
        super().__init__(access.host, access.imap_port, ssl=True, timeout=timeout)
        # Aware times; the default is local time without saying so.
        self.normalise_times = False

    def _create_IMAP4(self) -> _VerifiedTls:  # noqa: N802 - imapclient's name
        return _VerifiedTls(self._access)


@contextmanager
def _opened(access: MailboxAccess, folder: str, *, readonly: bool) -> Iterator[tuple[Any, int]]:
    """The client with the folder selected, and its number of messages."""
    if not folder or len(folder) > _MAX_FOLDER or _CONTROL.search(folder):
        # imaplib doesn't guard its arguments against line breaks (CVE-2025-15366).
        raise Invalid(
            "the folder's name is empty, too long or has control characters", field="folder"
        )
    try:
        folder.encode()
    except UnicodeEncodeError as error:
        raise Invalid("the folder's name has half a surrogate pair", field="folder") from error
    with logged_in(access) as client:
        yield client, _select(client, folder, readonly=readonly)


@contextmanager
def logged_in(access: MailboxAccess) -> Iterator[Any]:
    """The client, logged in. Raises ``Upstream`` for whatever goes wrong in the block."""
    try:
        with _Client(access) as client:
            # Not LOGIN: imaplib can't send a password that isn't ASCII with it.
            client.plain_login(access.email, access.password)
            yield client
    except (imaplib.IMAP4.error, OSError, EOFError) as error:
        words = " ".join(str(error).split()) or type(error).__name__
        raise Upstream("imap", f"{access.host}: {words}") from error


def _select(client: Any, folder: str, *, readonly: bool) -> int:
    try:
        return int(client.select_folder(folder, readonly=readonly)[b"EXISTS"])
    except imaplib.IMAP4.abort:
        raise
    except imaplib.IMAP4.error as error:
        raise NotFound(f"there is no folder {folder!r}") from error


def _content(data: dict[bytes, Any]) -> bytes:
    """The one body section; its key is echoed with more or fewer spaces by each server."""
    bodies = (value for key, value in data.items() if key.startswith(b"BODY["))
    return bytes(next(bodies, b"") or b"")


def _summary(uid: int, data: dict[bytes, Any], headers: ParsedHeaders) -> MessageSummary:
    received = data.get(b"INTERNALDATE")
    arrival = received.astimezone(UTC) if isinstance(received, datetime) else None
    return MessageSummary(
        uid=uid,
        message_id=headers.message_id,
        subject=headers.subject,
        sender=headers.sender,
        to=headers.to,
        cc=headers.cc,
        # A date that can't be read is replaced by the time of arrival.
        date=headers.date or arrival,
        flags=tuple(sorted(flag.decode("ascii", "replace") for flag in data.get(b"FLAGS", ()))),
        size=int(data.get(b"RFC822.SIZE", 0)),
    )
