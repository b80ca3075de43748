"""Parses received messages: bodies and what is attached. Bounded, and never raises.

Mail is written by strangers, and Python's parser takes quadratic time for deeply nested
multiparts. What goes beyond the limits is reported as one attachment instead of parsed.
"""

import re
from dataclasses import dataclass, field
from datetime import datetime
from email.errors import MessageError
from email.message import Message
from email.parser import BytesHeaderParser, BytesParser
from email.policy import Compat32

from orchestrator.mail.headers import address_header, date_header, decode, decoded, text_header
from orchestrator.mail.types import AttachmentInfo

#: Octets of a message that are looked at.
MAX_BYTES = 30 * 1024 * 1024
#: Parts of a message, and levels of multiparts within multiparts.
MAX_PARTS = 500
MAX_DEPTH = 50
#: The parser compares every line with the boundary of every open multipart.
_MAX_COMPARISONS = 30_000_000

_MULTIPART = re.compile(rb"^content-type:\s*(?:multipart|message)/", re.IGNORECASE | re.MULTILINE)
#: Characters of a header that are kept, and of one with parameters, which Python's parser
#: takes quadratic time for.
_MAX_HEADER = 65_536
_MAX_CONTENT_HEADER = 8_192


class _Bounded(Compat32):
    """Keeps headers as they came (the modern policies parse them, and raise), but cut."""

    def header_source_parse(self, sourcelines: list[str]) -> tuple[str, str]:
        name, value = super().header_source_parse(sourcelines)
        structured = name.lower().startswith("content-")
        return name, value[: _MAX_CONTENT_HEADER if structured else _MAX_HEADER]


_POLICY = _Bounded()


@dataclass(frozen=True)
class ParsedHeaders:
    """The headers that a list of messages shows."""

    message_id: str | None
    subject: str | None
    sender: tuple[str, ...]
    to: tuple[str, ...]
    cc: tuple[str, ...]
    date: datetime | None


@dataclass(frozen=True)
class ParsedMessage:
    """A message with its first plain and first HTML body; every other part is an attachment."""

    headers: ParsedHeaders
    text: str | None
    html: str | None
    attachments: tuple[AttachmentInfo, ...]


@dataclass
class _Collected:
    text: str | None = None
    html: str | None = None
    attachments: list[AttachmentInfo] = field(default_factory=list)


def parse_headers(raw: bytes) -> ParsedHeaders:
    """The headers of a message, or of its beginning. Never raises."""
    return _headers(header_message(raw))


def parse_message(raw: bytes, *, max_bytes: int = MAX_BYTES) -> ParsedMessage:
    """Headers, bodies and attachments. Octets after ``max_bytes`` are ignored. Never raises."""
    raw = raw[:max_bytes]
    depth = len(_MULTIPART.findall(raw))
    too_complex = depth * (raw.count(b"\n") + raw.count(b"\r")) > _MAX_COMPARISONS
    message = _parsed(raw, headers_only=too_complex)
    headers = _headers(message)
    if too_complex:
        omitted = AttachmentInfo(None, "message/rfc822", len(raw), None)
        return ParsedMessage(headers, None, None, (omitted,))
    collected = _Collected()
    # A stack instead of recursion: depth is the sender's choice. Reversed, to keep the order.
    stack: list[tuple[Message, int]] = [(message, 0)]
    parts = 0
    while stack:
        part, depth = stack.pop()
        parts += 1
        if parts > MAX_PARTS:
            size = sum(_size(rest) for rest, _ in [(part, depth), *stack])
            kind = "application/octet-stream"
            collected.attachments.append(AttachmentInfo(None, kind, size, None))
            break
        children = _children(part)
        if children and depth < MAX_DEPTH:
            stack += [(child, depth + 1) for child in reversed(children)]
        else:
            _collect(part, collected)
    attachments = tuple(collected.attachments)
    return ParsedMessage(headers, collected.text, collected.html, attachments)


def _parsed(raw: bytes, *, headers_only: bool) -> Message:
    parser = BytesHeaderParser if headers_only else BytesParser
    try:
        return parser(policy=_POLICY).parsebytes(raw)
    except (MessageError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return BytesHeaderParser(policy=_POLICY).parsebytes(b"\r\n" + raw)


def header_message(raw: bytes) -> Message:
    """The headers alone, as a message without content. Never raises."""
    return _parsed(raw, headers_only=True)


def _headers(message: Message) -> ParsedHeaders:
    return ParsedHeaders(
        message_id=text_header(message, "Message-ID"),
        subject=text_header(message, "Subject"),
        sender=address_header(message, "From"),
        to=address_header(message, "To"),
        cc=address_header(message, "Cc"),
        date=date_header(message),
    )


def _collect(part: Message, collected: _Collected) -> None:
    kind = part.get_content_type()
    filename = _filename(part)
    disposition = (text_header(part, "Content-Disposition") or "").lower()
    inline = filename is None and not disposition.startswith("attachment")
    if inline and kind == "text/plain" and collected.text is None:
        collected.text = _body(part)
    elif inline and kind == "text/html" and collected.html is None:
        collected.html = _body(part)
    else:
        content_id = text_header(part, "Content-ID")
        info = AttachmentInfo(filename, kind, _size(part), content_id)
        collected.attachments.append(info)


def _body(part: Message) -> str:
    try:
        charset = part.get_param("charset")
    except Exception:  # RFC 2231 parameters can be malformed in any way
        charset = None
    # An RFC 2231 value is (charset, language, value).
    name = charset[-1] if isinstance(charset, tuple) else charset
    text = decode(_octets(part), str(name).strip("'\" ") if name else None)
    return text.replace("\r\n", "\n")


def _octets(part: Message) -> bytes:
    """The decoded content; what can't be decoded stays as it came, what can't be had is empty."""
    try:
        payload = part.get_payload(decode=True)
    except Exception:  # any decoder of any declared encoding may fail
        return b""
    return payload if isinstance(payload, bytes) else b""


def _size(part: Message) -> int:
    """Octets of the content; for a message or multipart, of its source."""
    if not part.is_multipart():
        return len(_octets(part))
    try:
        return len(part.as_bytes(policy=_POLICY)) if part.get_payload() else 0
    except Exception:  # a malformed part can't always be written again
        return 0


def _filename(part: Message) -> str | None:
    try:
        name = part.get_filename()
    except Exception:  # RFC 2231 parameters can be malformed in any way
        return None
    # A name, never a path: somebody will save it.
    return re.split(r"[/\\]", decoded(name))[-1] or None if name else None


def _children(part: Message) -> list[Message]:
    """The parts of a multipart; a message inside the message isn't opened."""
    if part.get_content_maintype() != "multipart" or not part.is_multipart():
        return []
    payload = part.get_payload()
    return [child for child in payload if isinstance(child, Message)]
