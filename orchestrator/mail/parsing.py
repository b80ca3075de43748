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
from typing import cast

from orchestrator.mail.headers import address_header, date_header, decode, decoded, text_header
from orchestrator.mail.types import AttachmentContent, AttachmentInfo

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


#: Written again, a message has the line ends of RFC 5322.
_POLICY = _Bounded(linesep="\r\n")


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
    attachments: list[tuple[AttachmentInfo, Message | bytes]] = field(default_factory=list)


def parse_headers(raw: bytes) -> ParsedHeaders:
    """The headers of a message, or of its beginning. Never raises."""
    return _headers(header_message(raw))


def parse_message(raw: bytes, *, max_bytes: int = MAX_BYTES) -> ParsedMessage:
    """Headers, bodies and attachments. Octets after ``max_bytes`` are ignored. Never raises."""
    headers, collected = _taken_apart(raw[:max_bytes])
    attachments = tuple(info for info, _ in collected.attachments)
    return ParsedMessage(headers, collected.text, collected.html, attachments)


def extract(raw: bytes, number: int) -> AttachmentContent | None:
    """The attachment at that place (from 1) of what ``parse_message`` tells; None beyond."""
    _, collected = _taken_apart(raw[:MAX_BYTES])
    if not 1 <= number <= len(collected.attachments):
        return None
    info, part = collected.attachments[number - 1]
    return AttachmentContent(info, part if isinstance(part, bytes) else _octets(part))


def _taken_apart(raw: bytes) -> tuple[ParsedHeaders, _Collected]:
    depth = len(_MULTIPART.findall(raw))
    too_complex = depth * (raw.count(b"\n") + raw.count(b"\r")) > _MAX_COMPARISONS
    message = _parsed(raw, headers_only=too_complex)
    headers = _headers(message)
    if too_complex:
        omitted = AttachmentInfo(None, "message/rfc822", len(raw), None)
        return headers, _Collected(attachments=[(omitted, raw)])
    collected = _Collected()
    # A stack instead of recursion: depth is the sender's choice. Reversed, to keep the order.
    stack: list[tuple[Message, int]] = [(message, 0)]
    parts = 0
    while stack:
        part, depth = stack.pop()
        parts += 1
        if parts > MAX_PARTS:
            rest = b"".join(_octets(left) for left, _ in [(part, depth), *reversed(stack)])
            info = AttachmentInfo(None, "application/octet-stream", len(rest), None)
            collected.attachments.append((info, rest))
            break
        children = _children(part)
        if children and depth < MAX_DEPTH:
            stack += [(child, depth + 1) for child in reversed(children)]
        else:
            _collect(part, collected)
    return headers, collected


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
        info = AttachmentInfo(filename, kind, len(_octets(part)), content_id)
        collected.attachments.append((info, part))


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
    """The decoded content; of a message or multipart, its source.

    What can't be decoded stays as it came, what can't be had is empty.
    """
    try:
        if part.is_multipart():
            return _source(part)
        payload = part.get_payload(decode=True)
    except Exception:  # any decoder of any declared encoding may fail
        return b""
    return payload if isinstance(payload, bytes) else b""


def _source(part: Message) -> bytes:
    inner = part.get_payload()
    if part.get_content_type() == "message/rfc822" and isinstance(inner, list) and inner:
        part = cast(Message, inner[0])
    return part.as_bytes(policy=_POLICY) if inner else b""


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
