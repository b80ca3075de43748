"""Decides what an RRset of a managed zone must become. Pure: texts in, texts out."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from orchestrator.conditions import Reason
from orchestrator.dns import spf
from orchestrator.dns.judgement import is_dmarc
from orchestrator.dns.records import ExpectedRecord, Purpose, split
from orchestrator.errors import Invalid

#: Challenges for one name that don't come from orders under way.
MANY = 8


@dataclass(frozen=True)
class Goal:
    """What an RRset should hold. ``reason`` and ``problem`` tell what of it can't be done."""

    values: frozenset[str]
    reason: Reason | None = None
    problem: str = ""


def goal(
    current: Iterable[str],
    wanted: Sequence[ExpectedRecord],
    unwanted: Sequence[ExpectedRecord],
) -> Goal:
    """What one RRset should hold, from what it holds and our records of its name and type.

    - A, AAAA, PTR, MX: a managed zone's are ours; the wanted set replaces them.
    - SPF: our addresses are merged into the one ``v=spf1`` string.
    - DMARC: added only where there is none; a tenant's own policy is kept.
    - DKIM: replaces what stands at the selector, for two keys there would both be void.
    - CHALLENGE: added, for the MTAs of a cluster order for one name at the same time; where many
      stand, orders that were cut off have left them, and they are replaced.
    - OWNERSHIP: added; other tokens are other workspaces' affair.

    Every other TXT string stays. ``unwanted`` values disappear if nothing wanted equals them.
    """
    now = frozenset(current)
    if not wanted:
        if any(record.purpose is Purpose.SPF for record in unwanted):
            return _spf_goal(now, (), unwanted)
        return Goal(now - {record.value for record in unwanted})
    purposes = {record.purpose for record in wanted}
    values = frozenset(record.value for record in wanted)
    if purposes == {Purpose.SPF}:
        return _spf_goal(now, wanted, unwanted)
    kept = now - {record.value for record in unwanted}
    few = purposes == {Purpose.CHALLENGE} and len(kept) < MANY
    if few or purposes == {Purpose.OWNERSHIP}:
        return Goal(kept | values)
    if purposes == {Purpose.DMARC}:
        return Goal(kept if any(map(is_dmarc, kept)) else kept | values)
    return Goal(values)


def brought(
    before: Iterable[str], after: Iterable[str], wanted: Sequence[ExpectedRecord]
) -> list[ExpectedRecord]:
    """Which of the wanted records, SPF by its addresses, a change of an RRset makes stand."""
    old, new = list(before), list(after)
    return [part for part in split(wanted) if _stands(part, new) and not _stands(part, old)]


def _stands(part: ExpectedRecord, values: Sequence[str]) -> bool:
    if part.purpose is not Purpose.SPF:
        return part.value in values
    (ip,) = spf.single_addresses(part.value)
    return any(ip in spf.single_addresses(value) for value in values if spf.is_spf(value))


def _spf_goal(
    now: frozenset[str], wanted: Sequence[ExpectedRecord], unwanted: Sequence[ExpectedRecord]
) -> Goal:
    records = [value for value in now if spf.is_spf(value)]
    if len(records) > 1:
        problem = f"{len(records)} SPF records stand there, which one to extend is not ours to say"
        return Goal(now, Reason.AMBIGUOUS, problem)
    if not records:
        return Goal(now | {record.value for record in wanted})
    ips = [ip for record in wanted for ip in spf.single_addresses(record.value)]
    stale = [ip for record in unwanted for ip in spf.single_addresses(record.value)]
    try:
        merged = spf.merge(records[0], ips, drop=stale)
    except Invalid as error:
        return Goal(now, Reason.MISMATCH, str(error))
    others = now - {records[0]}
    # Of a record that held nothing but our addresses, only "-all" would be left: it would
    # forbid the tenant to send through anybody else.
    emptied = merged != records[0] and merged == "v=spf1 -all"
    return Goal(others if emptied else others | {merged})
