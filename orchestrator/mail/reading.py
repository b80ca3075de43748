"""Reads a tenant's mailbox: its folders, what is in them, single messages.

What a list costs depends on how much it shows, not on how much the folder holds.
"""

import imaplib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from orchestrator.confined import Confined, ExceededError
from orchestrator.errors import Invalid, NotFound
from orchestrator.mail.imap import MAX_UID, ImapClient, ask, check_folder
from orchestrator.mail.parsing import (
    MAX_BYTES,
    ParsedHeaders,
    ParsedMessage,
    extract,
    parse_headers,
    parse_message,
)
from orchestrator.mail.pool import Pool
from orchestrator.mail.types import (
    AttachmentContent,
    AttachmentInfo,
    Folder,
    FolderPage,
    MailboxAccess,
    MessageDetail,
    MessageSummary,
)

#: Octets of the shown headers that are fetched for a list.
_HEADER_BYTES = 65_536
_LISTED = "BODY.PEEK[HEADER.FIELDS (FROM TO CC SUBJECT DATE MESSAGE-ID)]"
#: Sequence numbers whose UIDs are asked for at once in the search for a UID's place.
_PROBES = 32
#: Folders that are told of: each costs a round trip.
_MAX_FOLDERS = 500
#: RFC 6154, and RFC 8457's ``\Important``.
_SPECIAL = {
    flag.lower().encode(): flag
    for flag in (
        "\\All",
        "\\Archive",
        "\\Drafts",
        "\\Flagged",
        "\\Important",
        "\\Junk",
        "\\Sent",
        "\\Trash",
    )
}
#: Larger messages are parsed in a process that can be killed; below, the parser can't take long.
_SMALL = 65_536
_PARSE_SECONDS = 10.0


@dataclass(frozen=True)
class Source:
    """A message as it is stored, as far as it is looked at; ``size`` is what the server says."""

    content: bytes = field(repr=False)
    uid: int
    flags: tuple[str, ...]
    size: int
    received: datetime | None


def list_folders(pool: Pool[ImapClient], access: MailboxAccess) -> tuple[Folder, ...]:
    """The mailbox's folders with their special use (RFC 6154); INBOX first. Raises ``Upstream``."""

    def work(client: ImapClient) -> tuple[Folder, ...]:
        found = []
        for flags, delimiter, name in client.list_folders()[:_MAX_FOLDERS]:
            lowered = {flag.lower() for flag in flags}
            if lowered & {b"\\noselect", b"\\nonexistent"}:
                continue
            status = client.folder_status(name, ["MESSAGES", "UNSEEN"])
            use = next((_SPECIAL[flag] for flag in sorted(lowered & _SPECIAL.keys())), None)
            between = None if delimiter is None else delimiter.decode("ascii", "replace")
            counts = int(status[b"MESSAGES"]), int(status[b"UNSEEN"])
            found.append(Folder(str(name), between, use, *counts))
        return tuple(sorted(found, key=lambda folder: (folder.name != "INBOX", folder.name)))

    return ask(pool, access, work)


def list_messages(
    pool: Pool[ImapClient],
    access: MailboxAccess,
    *,
    folder: str,
    limit: int,
    before: int | None,
) -> FolderPage:
    """At most ``limit`` messages of the folder, newest (highest UID) first; nothing is marked.

    With ``before``, only messages of lower UIDs. Pages are cut by UID, so messages that arrive
    or vanish between two calls make no message be skipped or shown twice. Raises ``Invalid``
    for a malformed folder name or limit, ``NotFound`` for an unknown folder, ``Upstream``.
    """
    if limit < 1:
        raise Invalid("limit must be at least 1", field="limit")
    check_folder(folder)

    def work(client: ImapClient) -> FolderPage:
        total, uid_next = client.choose(folder, readonly=True)
        last = total if before is None else _below(client, total, uid_next, before)
        first = max(1, last - limit + 1)
        items = ["UID", "FLAGS", "RFC822.SIZE", "INTERNALDATE", f"{_LISTED}<0.{_HEADER_BYTES}>"]
        fetched = client.fetch_numbered(range(first, last + 1), items)
        whole = [data for _, data in sorted(fetched.items(), reverse=True) if _has_body(data)]
        if last and not whole:
            raise imaplib.IMAP4.error("[EXPUNGEISSUED] nothing is left of the page")
        messages = tuple(_listed(data) for data in whole)
        return FolderPage(folder, total, messages, messages[-1].uid if first > 1 else None)

    return ask(pool, access, work)


def fetch_source(
    pool: Pool[ImapClient], access: MailboxAccess, *, folder: str, uid: int, mark_seen: bool = False
) -> Source:
    """One message as it is stored; it is marked as read only if ``mark_seen``.

    Of one larger than ``MAX_BYTES``, the beginning. Raises ``Invalid`` for a malformed folder
    name, ``NotFound`` for an unknown folder or UID, and ``Upstream``.
    """
    check_folder(folder)
    missing = NotFound(f"there is no message {uid} in the folder {folder!r}")

    def work(client: ImapClient) -> Source:
        client.choose(folder, readonly=not mark_seen)
        if not 1 <= uid <= MAX_UID:
            raise missing
        items = ["FLAGS", "RFC822.SIZE", "INTERNALDATE", f"BODY.PEEK[]<0.{MAX_BYTES}>"]
        data = client.fetch([uid], items).get(uid, {})
        if not _has_body(data):
            raise missing
        source = Source(_content(data), uid, _flags(data), _size(data), _received(data))
        if mark_seen:
            client.add_flags([uid], [b"\\Seen"], silent=True)
            source = replace(source, flags=tuple(sorted({*source.flags, "\\Seen"})))
        return source

    return ask(pool, access, work)


def detail(confined: Confined, source: Source) -> MessageDetail:
    """The message with its bodies. One that can't be parsed in time is shown by its headers."""
    raw = source.content
    try:
        parsed = (
            parse_message(raw)
            if len(raw) <= _SMALL
            else confined.run(_PARSE_SECONDS, parse_message, raw)
        )
    except ExceededError:
        opaque = AttachmentInfo(None, "message/rfc822", len(raw), None)
        parsed = ParsedMessage(parse_headers(raw[:_SMALL]), None, None, (opaque,))
    summary = _summary(source, parsed.headers)
    return MessageDetail(summary, parsed.text, parsed.html, parsed.attachments)


def attachment(confined: Confined, source: Source, number: int) -> AttachmentContent:
    """The attachment at that place (from 1) of the message's list. Raises ``NotFound``."""
    try:
        found = confined.run(_PARSE_SECONDS, extract, source.content, number)
    except ExceededError:
        # What ``detail`` shows of such a message: all of it as one attachment.
        opaque = AttachmentInfo(None, "message/rfc822", len(source.content), None)
        found = AttachmentContent(opaque, source.content) if number == 1 else None
    if found is None:
        raise NotFound(f"the message has no attachment {number}")
    return found


def _below(client: ImapClient, total: int, uid_next: int, uid: int) -> int:
    """How many messages have a lower UID: the sequence number of the last of them.

    UIDs rise with sequence numbers, so a few looks at a few of them find the place; where none
    is missing, there is nothing to look for.
    """
    low, high = max(0, total - max(0, uid_next - uid)), min(total, max(0, uid - 1))
    while low < high:
        step = max(1, (high - low) // _PROBES)
        probes = range(low + step, high + 1, step)
        uids = {n: data[b"UID"] for n, data in client.fetch_numbered(probes, ["UID"]).items()}
        if len(uids) < len(probes):
            raise imaplib.IMAP4.error("[EXPUNGEISSUED] messages have gone")
        low = max((n for n in probes if uids[n] < uid), default=low)
        high = min((n for n in probes if uids[n] >= uid), default=high + 1) - 1
    return low


def _listed(data: Mapping[bytes, Any]) -> MessageSummary:
    headers = parse_headers(_content(data))
    source = Source(b"", int(data[b"UID"]), _flags(data), _size(data), _received(data))
    return _summary(source, headers)


def _summary(source: Source, headers: ParsedHeaders) -> MessageSummary:
    return MessageSummary(
        uid=source.uid,
        message_id=headers.message_id,
        subject=headers.subject,
        sender=headers.sender,
        to=headers.to,
        cc=headers.cc,
        date=headers.date or source.received,
        flags=source.flags,
        size=source.size,
    )


def _has_body(data: Mapping[bytes, Any]) -> bool:
    return any(key.startswith(b"BODY[") for key in data)


def _content(data: Mapping[bytes, Any]) -> bytes:
    """The one body section; its key is echoed with more or fewer spaces by each server."""
    bodies = (value for key, value in data.items() if key.startswith(b"BODY["))
    return next(bodies, None) or b""


def _flags(data: Mapping[bytes, Any]) -> tuple[str, ...]:
    return tuple(sorted(flag.decode("ascii", "replace") for flag in data.get(b"FLAGS", ())))


def _size(data: Mapping[bytes, Any]) -> int:
    return int(data.get(b"RFC822.SIZE", 0))


def _received(data: Mapping[bytes, Any]) -> datetime | None:
    moment = data.get(b"INTERNALDATE")
    return moment.astimezone(UTC) if isinstance(moment, datetime) else None
