"""Asks DNS blocklists about an address (RFC 5782).

A list is believed for an IP version only while its test entries are as section 5 says; otherwise
it is ignored, because a list that ended its service may list everything or nothing.
"""

import ipaddress
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from orchestrator.dns.answers import Answer, AnswerStatus

#: Entries that a list must have and must not have, by IP version (RFC 5782 section 5).
TEST_POINTS = {4: ("127.0.0.2", "127.0.0.1"), 6: ("::ffff:127.0.0.2", "::ffff:127.0.0.1")}
#: Answers mean "listed" here (RFC 5782 section 2.1) …
CODES = ipaddress.ip_network("127.0.0.0/8")
#: … but not here: the list tells our resolver that it doesn't serve it.
REFUSALS = ipaddress.ip_network("127.255.255.0/24")
#: Characters of a list's own words that are kept.
WORDS = 200

_PARALLEL = 8


class Asker(Protocol):
    """The part of ``Resolver`` that is needed: blocklists are asked through recursive servers."""

    def lookup(self, name: str, rdtype: str) -> Answer:
        """What the recursive resolver answers."""


class Verdict(StrEnum):
    """What a list says; UNKNOWN: nobody could tell; IGNORED: the list can't be believed."""

    LISTED = "listed"
    CLEAN = "clean"
    UNKNOWN = "unknown"
    IGNORED = "ignored"


@dataclass(frozen=True)
class Listing:
    """What one list says of an address; ``detail`` holds its codes and its own words."""

    zone: str
    verdict: Verdict
    detail: str = field(default="", compare=False)


def query_name(ip: str, zone: str) -> str:
    """The name that is asked for: octets or nibbles backwards (RFC 5782 sections 2.1 and 2.4)."""
    reverse = ipaddress.ip_address(ip).reverse_pointer
    return f"{reverse.removesuffix('.in-addr.arpa').removesuffix('.ip6.arpa')}.{zone}"


def look(resolver: Asker, zones: Sequence[str], ip: str) -> list[Listing]:
    """Ask every list about the address, beside one another; one answer each, in their order."""
    if not zones:
        return []
    with ThreadPoolExecutor(min(_PARALLEL, len(zones)), thread_name_prefix="dnsbl") as pool:
        return list(pool.map(lambda zone: ask(resolver, zone, ip), zones))


def ask(resolver: Asker, zone: str, ip: str) -> Listing:
    """Ask one list about the address."""
    present, missing = TEST_POINTS[ipaddress.ip_address(ip).version]
    for point, wanted in ((present, Verdict.LISTED), (missing, Verdict.CLEAN)):
        seen = _entry(resolver, zone, point)
        if seen.verdict is Verdict.UNKNOWN:
            return seen
        if seen.verdict is not wanted:
            text = f"{zone} is ignored: its test entry {point} is {seen.verdict}"
            return Listing(zone, Verdict.IGNORED, text)
    return _entry(resolver, zone, ip)


def _entry(resolver: Asker, zone: str, ip: str) -> Listing:
    name = query_name(ip, zone)
    answer = resolver.lookup(name, "A")
    if answer.status is AnswerStatus.FAILED:
        return Listing(zone, Verdict.UNKNOWN, f"{zone} could not be asked: {answer.detail}")
    if answer.status is AnswerStatus.ABSENT:
        return Listing(zone, Verdict.CLEAN, f"{zone} does not list it")
    codes = [ipaddress.ip_address(value) for value in answer.values]
    if any(code in REFUSALS or code not in CODES for code in codes):
        told = ", ".join(answer.values)
        return Listing(zone, Verdict.UNKNOWN, f"{zone} refuses our resolver: it answers {told}")
    return Listing(zone, Verdict.LISTED, _told(resolver, zone, name, answer.values))


def _told(resolver: Asker, zone: str, name: str, codes: Sequence[str]) -> str:
    words = " ".join(resolver.lookup(name, "TXT").values)
    # A stranger's text: it goes into tables and logs.
    printable = "".join(character if character.isprintable() else " " for character in words)
    reason = f": {printable[:WORDS]}" if words else ""
    return f"{zone} lists it ({', '.join(codes)}){reason}"
