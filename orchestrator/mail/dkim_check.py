"""Verifies DKIM signatures (RFC 6376) with dkimpy, on keys from our own resolver."""

import re
from typing import Protocol

import dkim

from orchestrator.mail.headers import address_header
from orchestrator.mail.parsing import header_message

#: Further signatures aren't looked at: each costs a DNS question and an RSA operation.
_MAX_SIGNATURES = 5
#: Keys below this many bits aren't believed (RFC 8301).
_MIN_KEY_BITS = 1024


class KeyAnswer(Protocol):
    """The part of ``dns.Answer`` that is needed; ``status`` is found, absent or failed."""

    @property
    def status(self) -> str:
        """Found, absent or failed."""

    @property
    def values(self) -> tuple[str, ...]:
        """The TXT values, joined."""


class KeyResolver(Protocol):
    """The part of ``dns.Resolver`` that is needed."""

    def authoritative(self, name: str, rdtype: str) -> KeyAnswer:
        """What the authoritative servers of the name answer."""


class KeyUnavailableError(Exception):
    """DNS couldn't tell the key, so the signature is neither valid nor invalid."""


def aligned_signature(content: bytes, resolver: KeyResolver) -> str | None:
    """The ``d=`` of the first valid signature that aligns with the From header, or ``None``.

    Aligned (RFC 7489 section 3.1.1): From's domain is ``d=`` or below it. Raises
    ``KeyUnavailableError`` when there is no such signature, but one couldn't be checked.
    """
    author = _author_domain(content)
    if author is None:
        return None
    unavailable: KeyUnavailableError | None = None
    for index in range(_MAX_SIGNATURES):
        try:
            domain = _verified_domain(content, index, resolver)
        except KeyUnavailableError as error:
            unavailable = error
            continue
        if domain and (author == domain or author.endswith("." + domain)):
            return domain
    if unavailable:
        raise unavailable
    return None


def _verified_domain(content: bytes, index: int, resolver: KeyResolver) -> str | None:
    def txt(name: bytes, timeout: float = 5) -> bytes | None:
        answer = resolver.authoritative(name.decode("ascii", "replace"), "TXT")
        if answer.status == "failed":
            raise KeyUnavailableError(name.decode("ascii", "replace"))
        # RFC 6376 section 3.6.2.2: several records have no defined meaning.
        return answer.values[0].encode() if len(answer.values) == 1 else None

    try:
        verifier = dkim.DKIM(content, minkey=_MIN_KEY_BITS)
        if not verifier.verify(idx=index, dnsfunc=txt):
            return None
        fields: dict[bytes, bytes] = verifier.signature_fields
    except KeyUnavailableError:
        raise
    except Exception:  # dkimpy raises anything for a malformed signature
        return None
    signed = [name.strip().lower() for name in fields[b"h"].split(b":")]
    # Without From the signature says nothing about the author; with l= anything may follow.
    if b"from" not in signed or b"l" in fields:
        return None
    return fields[b"d"].decode("ascii", "replace").strip().lower()


def _author_domain(content: bytes) -> str | None:
    """The domain of the one address in the one From header (RFC 7489 section 6.6.1)."""
    senders = address_header(header_message(content), "From")
    match = re.fullmatch(r"(?:.*<)?[^<>@\s]+@([^<>@\s]+?)>?", senders[0]) if senders else None
    return match[1].lower().removesuffix(".") if match and len(senders) == 1 else None
