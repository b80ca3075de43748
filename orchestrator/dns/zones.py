"""Which managed zone a name belongs to, and whether a server has a zone."""

from collections.abc import Iterable

import dns.name
import dns.rdatatype

from orchestrator.dns.answers import follow
from orchestrator.dns.recursion import ask
from orchestrator.dns.transport import exchange_on


def within(name: str, zone: str) -> bool:
    """Whether ``name`` is ``zone`` or below it. Case and trailing dots don't matter."""
    inner, outer = name.removesuffix(".").lower(), zone.removesuffix(".").lower()
    return inner == outer or inner.endswith("." + outer)


def covering_zone(name: str, zones: Iterable[str]) -> str | None:
    """The longest of ``zones`` that ``name`` is in, as it was given; ``None`` if there is none."""
    return max((zone for zone in zones if within(name, zone)), key=len, default=None)


def serves(server: str, port: int, zone: str, timeout: float) -> bool:
    """Whether the server at an IP address answers with the zone's own SOA, within the seconds."""
    name = dns.name.from_text(zone)
    soa = dns.rdatatype.SOA
    response, _ = ask(exchange_on(port), server, name, soa, timeout, authoritative=True)
    return response is not None and follow(response, name, soa)[1] is not None
