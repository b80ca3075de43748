"""Looks at DNS and says of every expected record whether it stands."""

import ipaddress
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

from orchestrator.conditions import Reason, Status
from orchestrator.dns.answers import Answer, AnswerStatus
from orchestrator.dns.judgement import Answers, Observation, judge
from orchestrator.dns.records import ExpectedRecord, Purpose, address_records
from orchestrator.errors import Invalid, Unavailable

__all__ = [
    "Observation",
    "confirmed_name",
    "gather",
    "negative_ttl",
    "verify_ptr",
    "verify_records",
]

#: Seconds for which resolvers may believe that a name doesn't exist, at the most that is sensible
#: (RFC 2308 section 5); also taken where nobody tells.
MAX_NEGATIVE_TTL = 3 * 3600

#: Questions under way at once; a domain has about six.
_PARALLEL = 8


class Asker(Protocol):
    """The part of ``Resolver`` that verification needs."""

    def authoritative(self, name: str, rdtype: str) -> Answer:
        """What the authoritative servers of the name answer."""


def verify_records(
    resolver: Asker, records: Sequence[ExpectedRecord], *, spf_ips: Iterable[str]
) -> list[Observation]:
    """One observation per purpose in ``records``, from the authoritative servers.

    - MX: exactly the expected set. A host that isn't ours, even of low preference, would get
      mail of our mailboxes and refuse or keep it, so it is a Mismatch that names it.
    - SPF: exactly one ``v=spf1`` record (RFC 7208 section 4.5) that allows all of ``spf_ips``.
    - DKIM: one record per selector, whose ``p=`` is the expected key.
    - DMARC: exactly one ``v=DMARC1`` record with a valid ``p=``, whichever the tenant chose.
    - OWNERSHIP: the token, or one of the DKIM keys.
    - NAME, PTR: the addresses are among those seen; the PTR is exactly the name.

    Takes about as long as the slowest question: the resolver's time-out bounds it.
    """
    return judge(gather(resolver, records), records, spf_ips=spf_ips)


def verify_ptr(resolver: Asker, ip: str, name: str) -> Observation:
    """Whether ``ip`` has the one PTR ``name``, and ``name`` an address record with ``ip``.

    This is the forward-confirmed reverse DNS that receivers ask of a sending address. Raises
    ``Invalid`` for a malformed address or name.
    """
    records = address_records(ip, name)
    observations = {o.purpose: o for o in verify_records(resolver, records, spf_ips=())}
    pointer, forward = observations[Purpose.PTR], observations[Purpose.NAME]
    if pointer.status is not Status.TRUE:
        return pointer
    if forward.status is Status.TRUE:
        address = ipaddress.ip_address(records[0].value)
        message = f"{address} points to {records[1].value}, which has this address"
        return Observation(Purpose.PTR, Status.TRUE, Reason.OBSERVED, message, pointer.values)
    reason = (
        Reason.RESOLVER_FAILED if forward.status is Status.UNKNOWN else Reason.PTR_NOT_CONFIRMED
    )
    message = f"the PTR is right, but the name's own address isn't: {forward.message}"
    return Observation(Purpose.PTR, forward.status, reason, message, pointer.values)


def confirmed_name(resolver: Asker, ip: str) -> str | None:
    """The forward-confirmed name that an address has already, or ``None``.

    :raises Unavailable: when nobody could tell.
    """
    answer = resolver.authoritative(ipaddress.ip_address(ip).reverse_pointer, "PTR")
    if answer.status is AnswerStatus.FAILED:
        raise Unavailable(f"the PTR of {ip} can't be looked up: {answer.detail}")
    if len(answer.values) != 1:
        return None
    try:
        seen = verify_ptr(resolver, ip, answer.values[0])
    except Invalid:  # a PTR may hold anything, a name for a mail server may not
        return None
    if seen.status is Status.UNKNOWN:
        raise Unavailable(f"the name of {ip} can't be looked up: {seen.message}")
    return answer.values[0] if seen.status is Status.TRUE else None


def negative_ttl(resolver: Asker, name: str) -> int:
    """For how many seconds resolvers may still believe that a new name in the zone isn't there.

    That is the last field of the SOA around ``name`` (RFC 2308 section 4).
    """
    labels = name.split(".")
    for start in range(len(labels) - 1):
        answer = resolver.authoritative(".".join(labels[start:]), "SOA")
        if answer.status is AnswerStatus.FOUND:
            return min(int(answer.values[0].split()[-1]), MAX_NEGATIVE_TTL)
        if answer.status is AnswerStatus.FAILED:
            break
    return MAX_NEGATIVE_TTL


def gather(resolver: Asker, records: Sequence[ExpectedRecord]) -> Answers:
    """What the authoritative servers answer about each name and type in ``records``."""
    keys = list(dict.fromkeys((record.name, record.type) for record in records))
    if len(keys) <= 1:
        return {key: resolver.authoritative(*key) for key in keys}
    with ThreadPoolExecutor(min(_PARALLEL, len(keys)), thread_name_prefix="dns") as pool:
        return dict(
            zip(keys, pool.map(lambda key: resolver.authoritative(*key), keys), strict=True)
        )
