"""Decodes header values of received mail. Nothing here raises: mail holds anything."""

import codecs
from collections.abc import Iterable
from datetime import UTC, datetime
from email.header import decode_header
from email.message import Message
from email.utils import getaddresses, parsedate_to_datetime

#: What of one header is looked at, in characters; the rest would only cost time.
_MAX_LENGTH = 65_536
#: The number of addresses of one header that are shown.
_MAX_ADDRESSES = 1_000
#: Codecs that aren't character sets of mail; some take quadratic time.
_NOT_CHARSETS = {"idna", "punycode", "unicode-escape", "raw-unicode-escape", "undefined"}


def text_header(message: Message, name: str) -> str | None:
    """The first header of that name with its encoded words (RFC 2047) decoded, on one line."""
    raw = raw_header(message, name)
    return None if raw is None else decoded(raw)


def address_header(message: Message, name: str) -> tuple[str, ...]:
    """The addresses of all headers of that name, as ``Lena <lena@acme.com>``.

    A header that can't be parsed is shown as it is.
    """
    shown: list[str] = []
    for raw in _raw_headers(message, name):
        try:
            # Parsed before it is decoded: an encoded word may hold commas and brackets.
            pairs = [pair for pair in getaddresses([raw]) if pair[1]]
        except Exception:  # the parser isn't made for hostile input
            pairs = []
        whole = decoded(raw)
        shown += [_display(*pair) for pair in pairs] or ([whole] if whole else [])
        if len(shown) >= _MAX_ADDRESSES:
            break
    return tuple(shown[:_MAX_ADDRESSES])


def date_header(message: Message) -> datetime | None:
    """The Date header in UTC; ``None`` when it is missing, malformed or out of range."""
    raw = raw_header(message, "Date")
    try:
        moment = parsedate_to_datetime(raw or "")
        # "-0000" (RFC 5322 section 3.3) tells UTC without a zone and is parsed as naive.
        return moment.replace(tzinfo=moment.tzinfo or UTC).astimezone(UTC)
    except Exception:  # ValueError, TypeError, OverflowError, IndexError …
        return None


def raw_header(message: Message, name: str) -> str | None:
    """The first header of that name, undecoded but valid Unicode."""
    return next(iter(_raw_headers(message, name)), None)


def decoded(raw: str) -> str:
    """Encoded words decoded, line breaks and runs of spaces made one space."""
    try:
        chunks = decode_header(raw[:_MAX_LENGTH])
        text = "".join(
            chunk if isinstance(chunk, str) else decode(chunk, charset) for chunk, charset in chunks
        )
    except Exception:  # binascii.Error, HeaderParseError, ValueError …
        text = raw[:_MAX_LENGTH]
    return " ".join(text.replace("\0", "\ufffd").split())


def decode(octets: bytes, charset: str | None) -> str:
    """Octets as text: by their charset, else as UTF-8, else as Windows-1252. NUL is replaced."""
    for name, errors in ((charset, "strict"), ("utf-8", "strict"), (charset, "replace")):
        try:
            if name and codecs.lookup(name).name.replace("_", "-") not in _NOT_CHARSETS:
                return octets.decode(name, errors).replace("\0", "\ufffd")
        except (LookupError, ValueError, UnicodeError):
            continue
    return octets.decode("cp1252", "replace").replace("\0", "\ufffd")


def _raw_headers(message: Message, name: str) -> Iterable[str]:
    # raw_items: the ordinary accessor turns 8-bit headers into question marks.
    for key, value in message.raw_items():
        if key.lower() == name.lower():
            text = str(value)[:_MAX_LENGTH]
            yield decode(text.encode("utf-8", "surrogateescape"), None)


def _display(name: str, address: str) -> str:
    name = decoded(name)
    if not name:
        return decoded(address)
    if any(character in '",;:<>()@[]\\' for character in name):
        escaped = name.replace("\\", "\\\\").replace('"', '\\"')
        name = f'"{escaped}"'
    return f"{name} <{decoded(address)}>"
