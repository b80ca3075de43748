"""What a question to DNS came to: found, absent, or not answered. Absent isn't failed."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdata
import dns.rdatatype
import dns.rdtypes.ANY.MX
import dns.rdtypes.txtbase
import dns.rrset

#: How many aliases are followed before an answer is taken for a loop.
MAX_ALIASES = 8


class AnswerStatus(StrEnum):
    """FOUND: records; ABSENT: surely none; FAILED: nobody could tell, so nothing is known."""

    FOUND = "found"
    ABSENT = "absent"
    FAILED = "failed"


@dataclass(frozen=True)
class Answer:
    """An answer. ``values`` are sorted texts as in ``ExpectedRecord``; ``detail`` is for people."""

    status: AnswerStatus
    values: tuple[str, ...] = ()
    detail: str = field(default="", compare=False)


class AliasLoopError(Exception):
    """The aliases lead round in a circle, or on and on."""


def found(values: Iterable[str], detail: str = "") -> Answer:
    """An answer with records."""
    return Answer(AnswerStatus.FOUND, tuple(sorted(set(values))), detail)


def absent(detail: str) -> Answer:
    """NXDOMAIN or NODATA."""
    return Answer(AnswerStatus.ABSENT, (), detail)


def failed(detail: str) -> Answer:
    """Time-out, SERVFAIL, REFUSED, lame delegation, malformed reply."""
    return Answer(AnswerStatus.FAILED, (), detail)


def text_of(rdata: dns.rdata.Rdata) -> str:
    """The value as ``ExpectedRecord`` writes it: TXT joined and unquoted, names without a dot."""
    if isinstance(rdata, dns.rdtypes.txtbase.TXTBase):
        return b"".join(rdata.strings).decode("utf-8", "backslashreplace")
    if isinstance(rdata, dns.rdtypes.ANY.MX.MX):
        return f"{rdata.preference} {name_text(rdata.exchange)}"
    target = getattr(rdata, "target", None)
    if isinstance(target, dns.name.Name):
        return name_text(target)
    return rdata.to_text()


def name_text(name: dns.name.Name) -> str:
    """A name in lower case and without the trailing dot; the root stays ``.``."""
    return name.to_text(omit_final_dot=True).lower()


def follow(
    response: dns.message.Message, name: dns.name.Name, rdtype: dns.rdatatype.RdataType
) -> tuple[dns.name.Name, dns.rrset.RRset | None]:
    """Follow the aliases of a response: the last name reached, and its records if it has any.

    Raises ``AliasLoopError`` when they don't end.
    """
    for _ in range(MAX_ALIASES):
        rrset = _rrset(response, name, rdtype)
        alias = _rrset(response, name, dns.rdatatype.CNAME)
        if rrset is not None or alias is None or rdtype == dns.rdatatype.CNAME:
            return name, rrset
        name = alias[0].target
    raise AliasLoopError(f"more than {MAX_ALIASES} aliases")


def is_referral(response: dns.message.Message) -> bool:
    """Whether an empty answer points elsewhere (NS, no SOA) instead of denying (RFC 2308)."""
    types = {rrset.rdtype for rrset in response.authority}
    return dns.rdatatype.NS in types and dns.rdatatype.SOA not in types


def refusal(response: dns.message.Message, *, authoritative: bool) -> str | None:
    """Why a response tells nothing about the name, or ``None`` when it can be used."""
    code = response.rcode()
    if code not in {dns.rcode.NOERROR, dns.rcode.NXDOMAIN}:
        return dns.rcode.to_text(code)
    if authoritative and not response.flags & dns.flags.AA:
        return "is not authoritative (lame delegation)"
    if not authoritative and not response.answer and is_referral(response):
        return "answered with a referral: it offers no recursion"
    return None


def _rrset(
    response: dns.message.Message, name: dns.name.Name, rdtype: dns.rdatatype.RdataType
) -> dns.rrset.RRset | None:
    for rrset in response.answer:
        if rrset.rdtype == rdtype and rrset.name == name:
            return rrset
    return None
