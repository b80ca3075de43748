"""Reads and merges SPF records (RFC 7208). Pure: no lookups."""

import ipaddress
import re
from collections.abc import Iterable

from orchestrator.dns.records import canonical_ips, spf_mechanism, spf_value
from orchestrator.errors import Invalid

#: An evaluation that needs more lookups than this fails for good (RFC 7208 section 4.6.4).
LOOKUP_LIMIT = 10

_TERM = re.compile(r"(?P<qualifier>[+?~-]?)(?P<name>[A-Za-z0-9]+)(?:(?P<sep>[:/])(?P<value>.+))?")
_MODIFIER = re.compile(r"(?P<name>[A-Za-z][A-Za-z0-9_.-]*)=(?P<value>.*)")
#: Mechanisms that need an argument, and those that may not have one.
_WITH_ARGUMENT = {"include", "exists", "ip4", "ip6"}
_PLAIN = {"a", "mx", "ptr"}
_LOOKUPS = {"include", "a", "mx", "ptr", "exists"}

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def is_spf(text: str) -> bool:
    """Whether a TXT value is an SPF record at all (RFC 7208 section 4.5)."""
    return re.match(r"v=spf1(?: |$)", text, re.IGNORECASE) is not None


def problem(record: str) -> str | None:
    """Why every receiver would answer ``permerror`` to this record, or ``None``.

    Only what can be told without DNS: unknown mechanisms, malformed addresses, repeated
    modifiers and more than ten lookups (nested ones aren't counted).
    """
    if not is_spf(record):
        return "it doesn't start with v=spf1"
    seen: set[str] = set()
    for term in record.split()[1:]:
        modifier = _MODIFIER.fullmatch(term)
        if modifier:
            name = modifier["name"].lower()
            if name in seen and name in {"redirect", "exp"}:
                return f"{name}= stands there twice"
            seen.add(name)
            continue
        fault = _fault(term)
        if fault:
            return fault
    if lookups(record) > LOOKUP_LIMIT:
        return f"it needs more than {LOOKUP_LIMIT} DNS lookups"
    return None


def lookups(record: str) -> int:
    """How many terms of the record itself cost a lookup of the ten that are allowed."""
    count = 0
    for term in record.split()[1:]:
        match = _TERM.fullmatch(term)
        is_redirect = term.lower().startswith("redirect=")
        count += is_redirect or (match is not None and match["name"].lower() in _LOOKUPS)
    return count


def covers(observed: str, ips: Iterable[str]) -> bool:
    """Whether the record lets every one of the addresses send (result ``pass``).

    Terms are taken in order, as a receiver does: the first ``ip4``, ``ip6`` or ``all`` that
    matches decides. What would need DNS (``include``, ``a``, …) is passed over, so an address
    that is allowed only through an include isn't seen as covered.
    """
    if problem(observed):
        return False
    return all(_qualifier(observed, ip) == "+" for ip in canonical_ips(ips))


def merge(existing: str | None, ips: Iterable[str], *, drop: Iterable[str] = ()) -> str:
    """The tenant's record with our addresses allowed, or a new one when there is none.

    Every term of theirs keeps its place and qualifier, except exact ``ip4:``/``ip6:`` terms of
    the addresses in ``drop``, which are ours no more. Missing addresses are put at the front:
    they decide before anything else, cost no lookup, and work even where an include of the
    tenant's fails. Raises ``Invalid`` when the existing record is itself malformed, since
    receivers would then ignore ours too.
    """
    wanted = canonical_ips(ips)
    if existing is None or not existing.strip():
        return spf_value(wanted)
    fault = problem(existing)
    if fault:
        raise Invalid(f"the SPF record {existing!r} can't be extended: {fault}", field="spf")
    version, *terms = existing.split()
    stale = set(canonical_ips(drop)) - set(wanted)
    terms = [term for term in terms if not (stale and _single_pass(term) in stale)]
    missing = [ip for ip in wanted if _qualifier(existing, ip) != "+"]
    return " ".join([version, *(spf_mechanism(ip) for ip in missing), *terms])


def single_addresses(record: str) -> list[str]:
    """The addresses that the record allows one by one, in canonical form."""
    singles = (_single_pass(term) for term in record.split()[1:])
    return [ip for ip in singles if ip is not None]


def _fault(term: str) -> str | None:
    match = _TERM.fullmatch(term)
    name = match["name"].lower() if match else ""
    if name in {"ip4", "ip6"} and _network(term) is None:
        return f"{term!r} isn't an address or network"
    plain = name in _PLAIN and match is not None
    known = plain or (name == "all" and match is not None and match["sep"] is None)
    argued = name in _WITH_ARGUMENT and match is not None and match["sep"] == ":"
    return None if known or argued else f"{term!r} isn't a mechanism"


def _network(term: str) -> Network | None:
    """The network of an ``ip4:`` or ``ip6:`` term; ``None`` for every other or malformed term."""
    match = _TERM.fullmatch(term)
    if match is None or match["name"].lower() not in {"ip4", "ip6"} or match["sep"] != ":":
        return None
    try:
        # Host bits may be set: receivers compare only the prefix.
        network = ipaddress.ip_network(match["value"], strict=False)
    except ValueError:
        return None
    return network if str(network.version) == match["name"][2] else None


def _single_pass(term: str) -> str | None:
    """The address that a term allows alone, such as ``ip4:198.51.100.7``."""
    network = _network(term)
    if network is None or term[0] in "?~-" or network.num_addresses != 1:
        return None
    return str(network.network_address)


def _qualifier(record: str, ip: str) -> str:
    """The qualifier of the first address or ``all`` term that matches; ``?`` when none does."""
    address = ipaddress.ip_address(ip)
    for term in record.split()[1:]:
        match = _TERM.fullmatch(term)
        network = _network(term)
        in_network = network is not None and address in network
        if match and (match["name"].lower() == "all" or in_network):
            return match["qualifier"] or "+"
    return "?"
