"""Tells from DNS answers whether expected records stand. Pure: answers in, observations out."""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from orchestrator.conditions import Reason, Status
from orchestrator.dns import spf
from orchestrator.dns.answers import Answer, AnswerStatus
from orchestrator.dns.records import ExpectedRecord, Purpose, canonical_ips
from orchestrator.dns.tags import parse_tags

#: The answers to every question, by name and type.
Answers = dict[tuple[str, str], Answer]

_POLICIES = {"none", "quarantine", "reject"}


@dataclass(frozen=True)
class Observation:
    """What was seen for one purpose. ``values`` are the observed texts, for people and digests."""

    purpose: Purpose
    status: Status
    reason: Reason
    message: str
    values: tuple[str, ...] = ()


def judge(
    answers: Answers, records: Sequence[ExpectedRecord], *, spf_ips: Iterable[str]
) -> list[Observation]:
    """One observation per purpose that occurs in ``records``, in the order of first occurrence.

    A failed answer makes its purpose Unknown, never False.
    """
    ips = canonical_ips(spf_ips)
    return [
        _judge_purpose(answers, records, purpose, ips)
        for purpose in dict.fromkeys(record.purpose for record in records)
    ]


def judge_set(purpose: Purpose, answer: Answer, expected: Iterable[str]) -> Observation:
    """The observed set must equal the expected one (MX, PTR)."""
    wanted = set(expected)
    refused = _without_records(purpose, answer, " and ".join(sorted(wanted)))
    if refused:
        return refused
    seen = set(answer.values)
    faults = []
    if wanted - seen:
        faults.append(f"missing: {', '.join(sorted(wanted - seen))}")
    if seen - wanted:
        faults.append(f"not expected: {', '.join(sorted(seen - wanted))}")
    if faults:
        return _mismatch(purpose, answer, " and ".join(sorted(wanted)), "; ".join(faults))
    return _observed(purpose, answer.values)


def _judge_purpose(
    answers: Answers, records: Sequence[ExpectedRecord], purpose: Purpose, ips: list[str]
) -> Observation:
    mine = [record for record in records if record.purpose is purpose]
    if purpose is Purpose.OWNERSHIP:
        return _ownership(answers, records)
    if purpose is Purpose.SPF:
        return worst([_spf(answers[r.name, r.type], r.value, ips) for r in mine])
    single: dict[Purpose, Callable[[Answer, str], Observation]] = {
        Purpose.DKIM: _dkim,
        Purpose.DMARC: _dmarc,
    }
    if purpose in single:
        return worst([single[purpose](answers[r.name, r.type], r.value) for r in mine])
    groups = dict.fromkeys((record.name, record.type) for record in mine)
    of_set = _includes if purpose is Purpose.NAME else judge_set
    return worst(
        [
            of_set(purpose, answers[key], [r.value for r in mine if (r.name, r.type) == key])
            for key in groups
        ]
    )


def _includes(purpose: Purpose, answer: Answer, expected: Iterable[str]) -> Observation:
    """Every expected address is there; further ones don't hurt a forward confirmation."""
    wanted = set(expected)
    refused = _without_records(purpose, answer, " and ".join(sorted(wanted)))
    if refused:
        return refused
    missing = ", ".join(sorted(wanted - set(answer.values)))
    if missing:
        return _mismatch(purpose, answer, missing, f"missing: {missing}")
    return _observed(purpose, answer.values)


def _spf(answer: Answer, expected: str, ips: list[str]) -> Observation:
    records = [value for value in answer.values if spf.is_spf(value)]
    refused = _not_exactly_one(Purpose.SPF, answer, records, expected)
    if refused:
        return refused
    fault = spf.problem(records[0])
    if fault:
        return _mismatch(Purpose.SPF, answer, expected, f"receivers reject the record: {fault}")
    uncovered = [ip for ip in ips if not spf.covers(records[0], [ip])]
    if uncovered:
        return _mismatch(Purpose.SPF, answer, expected, f"not allowed: {', '.join(uncovered)}")
    return _observed(Purpose.SPF, tuple(records))


def _dkim(answer: Answer, expected: str) -> Observation:
    refused = _not_exactly_one(Purpose.DKIM, answer, list(answer.values), expected)
    if refused:
        return refused
    fault = dkim_fault(answer.values[0], expected)
    return (
        _mismatch(Purpose.DKIM, answer, expected, fault)
        if fault
        else _observed(Purpose.DKIM, answer.values)
    )


def dkim_fault(seen: str, expected: str) -> str | None:
    """Why a key record (RFC 6376 section 3.6.1) doesn't publish the expected key, or ``None``."""
    tags, wanted = parse_tags(seen), parse_tags(expected)
    assert wanted is not None, "expected records are well-formed"
    if tags is None or "p" not in tags:
        return "it isn't a DKIM key record"
    key = "".join(tags["p"].split())
    hashes = [part.strip() for part in tags.get("h", "sha256").split(":")]
    services = [part.strip() for part in tags.get("s", "*").split(":")]
    checks = {
        "v= must be the first tag and DKIM1": tags.get("v", "DKIM1") == "DKIM1"
        and ("v" not in tags or next(iter(tags)) == "v"),
        "the key is revoked (empty p=)": bool(key),
        "p= is another key": key == "".join(wanted["p"].split()),
        "k= is another key type": tags.get("k", "rsa") == wanted.get("k", "rsa"),
        "h= doesn't allow sha256": "sha256" in hashes,
        "s= doesn't allow e-mail": bool({"*", "email"} & set(services)),
    }
    return next((fault for fault, holds in checks.items() if not holds), None)


def _dmarc(answer: Answer, expected: str) -> Observation:
    # Others than v=DMARC1 are ignored by receivers (RFC 7489 section 6.6.3).
    records = [value for value in answer.values if is_dmarc(value)]
    refused = _not_exactly_one(Purpose.DMARC, answer, records, expected)
    if refused:
        return refused
    tags = parse_tags(records[0])
    if tags is None or tags.get("p", "").lower() not in _POLICIES:
        return _mismatch(Purpose.DMARC, answer, expected, "it has no valid p=")
    return _observed(Purpose.DMARC, tuple(records))


def is_dmarc(text: str) -> bool:
    """Whether a TXT value is a DMARC record at all: ``v=DMARC1`` first, case-sensitive."""
    return re.match(r"v\s*=\s*DMARC1\s*(?:;|$)", text) is not None


def _ownership(answers: Answers, records: Sequence[ExpectedRecord]) -> Observation:
    """The token stands, or else a DKIM key that only this workspace could have told."""
    failures: list[str] = []
    seen: list[str] = []
    for record in records:
        answer = answers[record.name, record.type]
        if record.purpose is Purpose.OWNERSHIP:
            proven = record.value in answer.values
        elif record.purpose is Purpose.DKIM:
            proven = any(dkim_fault(value, record.value) is None for value in answer.values)
        else:
            continue
        if proven:
            by = f"proven by the {record.type} record of {record.name}"
            return Observation(Purpose.OWNERSHIP, Status.TRUE, Reason.OBSERVED, by, answer.values)
        if answer.status is AnswerStatus.FAILED:
            failures.append(answer.detail)
        if record.purpose is Purpose.OWNERSHIP:
            expected = f"{record.name} TXT {record.value!r}"
            seen += answer.values
    if failures:
        return _unknown(Purpose.OWNERSHIP, expected, "; ".join(failures))
    reason = Reason.MISMATCH if seen else Reason.MISSING
    message = f"expected {expected}, seen {_told(seen)}"
    return Observation(Purpose.OWNERSHIP, Status.FALSE, reason, message, tuple(seen))


def _not_exactly_one(
    purpose: Purpose, answer: Answer, records: list[str], expected: str
) -> Observation | None:
    refused = _without_records(purpose, answer, expected)
    if refused:
        return refused
    if len(records) == 1:
        return None
    reason = Reason.AMBIGUOUS if records else Reason.MISSING
    number = f"{len(records)} records, which is an error" if records else "none among the others"
    message = f"expected {expected!r} alone, seen {number}: {_told(records or answer.values)}"
    return Observation(purpose, Status.FALSE, reason, message, answer.values)


def _without_records(purpose: Purpose, answer: Answer, expected: str) -> Observation | None:
    if answer.status is AnswerStatus.FAILED:
        return _unknown(purpose, expected, answer.detail)
    if answer.status is AnswerStatus.ABSENT:
        message = f"expected {expected!r}, seen nothing ({answer.detail})"
        return Observation(purpose, Status.FALSE, Reason.MISSING, message)
    return None


def _unknown(purpose: Purpose, expected: str, detail: str) -> Observation:
    message = f"expected {expected!r}, but nobody could tell: {detail}"
    return Observation(purpose, Status.UNKNOWN, Reason.RESOLVER_FAILED, message)


def _mismatch(purpose: Purpose, answer: Answer, expected: str, fault: str) -> Observation:
    message = f"expected {expected!r}, seen {_told(answer.values)}: {fault}"
    return Observation(purpose, Status.FALSE, Reason.MISMATCH, message, answer.values)


def _observed(purpose: Purpose, values: tuple[str, ...]) -> Observation:
    return Observation(purpose, Status.TRUE, Reason.OBSERVED, f"seen {_told(values)}", values)


def _told(values: Iterable[str]) -> str:
    return ", ".join(map(repr, values)) or "nothing"


def worst(observations: Sequence[Observation]) -> Observation:
    """What is surely wrong outweighs what is unknown, and that what is right."""
    order = [Status.FALSE, Status.UNKNOWN, Status.TRUE]
    first = min(observations, key=lambda observation: order.index(observation.status))
    same = [o for o in observations if o.status is first.status]
    message = "; ".join(dict.fromkeys(o.message for o in same))
    values = tuple(dict.fromkeys(value for o in observations for value in o.values))
    return Observation(first.purpose, first.status, first.reason, message, values)
