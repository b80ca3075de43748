"""What is made of answers: three values, and words that say what was expected and seen."""

import pytest

from orchestrator.conditions import Reason, Status
from orchestrator.dns.answers import Answer, absent, failed, found
from orchestrator.dns.judgement import Observation
from orchestrator.dns.records import ExpectedRecord, Purpose, domain_records
from orchestrator.dns.verification import verify_ptr, verify_records

IPS = ["198.51.100.21"]
RECORDS = domain_records(
    domain="acme.com",
    ownership_token="t0k",
    mx_hosts=["mx1.fleetlab.net", "mx2.fleetlab.net"],
    egress_ips=IPS,
    dkim=[("s1", "QUJD")],
    dmarc_rua=None,
)
OWNERSHIP = ("_mailfleet.acme.com", "TXT")
MX = ("acme.com", "MX")
SPF = ("acme.com", "TXT")
DKIM = ("s1._domainkey.acme.com", "TXT")
DMARC = ("_dmarc.acme.com", "TXT")
RIGHT = {
    OWNERSHIP: found(["mailfleet-verification=t0k"]),
    MX: found(["10 mx1.fleetlab.net", "10 mx2.fleetlab.net"]),
    SPF: found(["v=spf1 ip4:198.51.100.21 -all", "google-site-verification=x"]),
    DKIM: found(["v=DKIM1; k=rsa; p=QUJD"]),
    DMARC: found(["v=DMARC1; p=none"]),
}


class Answering:
    """Answers from a table; absent for the rest."""

    def __init__(self, table: dict[tuple[str, str], Answer]) -> None:
        self.table = table

    def authoritative(self, name: str, rdtype: str) -> Answer:
        return self.table.get((name, rdtype), absent(f"{name}: the name doesn't exist"))


def seen(
    changes: dict[tuple[str, str], Answer], records: list[ExpectedRecord] = RECORDS
) -> dict[Purpose, Observation]:
    observations = verify_records(Answering(RIGHT | changes), records, spf_ips=IPS)
    return {observation.purpose: observation for observation in observations}


def test_everything_stands() -> None:
    observations = seen({})
    assert list(observations) == [
        Purpose.OWNERSHIP,
        Purpose.MX,
        Purpose.SPF,
        Purpose.DKIM,
        Purpose.DMARC,
    ]
    assert {(o.status, o.reason) for o in observations.values()} == {(Status.TRUE, Reason.OBSERVED)}


@pytest.mark.parametrize("key", [OWNERSHIP, MX, SPF, DKIM, DMARC])
def test_a_failed_lookup_is_unknown_and_never_false(key: tuple[str, str]) -> None:
    others = {k: failed("SERVFAIL") for k in (key, DKIM) if key in (OWNERSHIP, k)}
    observations = seen(others)
    for (name, kind), purpose in zip([OWNERSHIP, MX, SPF, DKIM, DMARC], observations, strict=True):
        unknown = (name, kind) in others
        assert observations[purpose].status is (Status.UNKNOWN if unknown else Status.TRUE)
        assert not unknown or observations[purpose].reason is Reason.RESOLVER_FAILED
        assert not unknown or "SERVFAIL" in observations[purpose].message


@pytest.mark.parametrize(
    ("purpose", "key", "values", "reason", "words"),
    [
        (Purpose.MX, MX, ["10 mx1.fleetlab.net"], Reason.MISMATCH, "missing: 10 mx2.fleetlab.net"),
        (
            Purpose.MX,
            MX,
            ["10 mx1.fleetlab.net", "10 mx2.fleetlab.net", "90 backup.old.com"],
            Reason.MISMATCH,
            "not expected: 90 backup.old.com",
        ),
        (Purpose.SPF, SPF, ["v=spf1 ip4:198.51.100.22 -all"], Reason.MISMATCH, "198.51.100.21"),
        (
            Purpose.SPF,
            SPF,
            ["v=spf1 ip4:198.51.100.21 a", "v=spf1 -all"],
            Reason.AMBIGUOUS,
            "2 rec",
        ),
        (Purpose.SPF, SPF, ["v=spf1 ip4:198.51.100.21 foo:b"], Reason.MISMATCH, "'foo:b' isn't"),
        (Purpose.SPF, SPF, ["something else"], Reason.MISSING, "something else"),
        (Purpose.DKIM, DKIM, ["v=DKIM1; p=WFla"], Reason.MISMATCH, "another key"),
        (Purpose.DKIM, DKIM, ["v=DKIM1; p="], Reason.MISMATCH, "revoked"),
        (Purpose.DKIM, DKIM, ["p=QUJD; v=DKIM1"], Reason.MISMATCH, "first tag"),
        (Purpose.DKIM, DKIM, ["k=ed25519; p=QUJD"], Reason.MISMATCH, "key type"),
        (Purpose.DKIM, DKIM, ["h=sha1; p=QUJD"], Reason.MISMATCH, "sha256"),
        (Purpose.DKIM, DKIM, ["s=tlsrpt; p=QUJD"], Reason.MISMATCH, "e-mail"),
        (Purpose.DKIM, DKIM, ["hello"], Reason.MISMATCH, "isn't a DKIM key"),
        (Purpose.DKIM, DKIM, ["p=QUJD", "p=WFla"], Reason.AMBIGUOUS, "2 records"),
        (Purpose.DMARC, DMARC, ["v=DMARC1; p=none", "v=DMARC1; p=reject"], Reason.AMBIGUOUS, "2"),
        (Purpose.DMARC, DMARC, ["v=DMARC1; p=maybe"], Reason.MISMATCH, "no valid p="),
        (Purpose.DMARC, DMARC, ["v=DMARC1"], Reason.MISMATCH, "no valid p="),
        (Purpose.DMARC, DMARC, ["v=dmarc1; p=none"], Reason.MISSING, "v=dmarc1"),
    ],
)
def test_what_is_wrong_is_false_and_told(
    purpose: Purpose, key: tuple[str, str], values: list[str], reason: Reason, words: str
) -> None:
    observation = seen({key: found(values)})[purpose]
    assert (observation.status, observation.reason) == (Status.FALSE, reason)
    assert words in observation.message
    assert "expected" in observation.message


@pytest.mark.parametrize("key", [MX, SPF, DKIM, DMARC])
def test_what_is_absent_is_missing(key: tuple[str, str]) -> None:
    purposes = dict(zip([OWNERSHIP, MX, SPF, DKIM, DMARC], seen({}), strict=True))
    observation = seen({key: absent("the name doesn't exist")})[purposes[key]]
    assert (observation.status, observation.reason) == (Status.FALSE, Reason.MISSING)


@pytest.mark.parametrize(
    "value",
    ["v=DKIM1;k=rsa;p=QU JD", " v = DKIM1 ; p = QUJD ; ", "p=QUJD", "v=DKIM1; t=y; p=QUJD;"],
)
def test_a_key_may_be_written_in_many_ways(value: str) -> None:
    assert seen({DKIM: found([value])})[Purpose.DKIM].status is Status.TRUE


def test_the_dkim_key_proves_ownership_too() -> None:
    observation = seen({OWNERSHIP: absent("nothing")})[Purpose.OWNERSHIP]
    assert observation.status is Status.TRUE
    assert "s1._domainkey.acme.com" in observation.message


def test_another_workspaces_token_proves_nothing() -> None:
    other = {OWNERSHIP: found(["mailfleet-verification=x"]), DKIM: absent("nothing")}
    observation = seen(other)[Purpose.OWNERSHIP]
    assert (observation.status, observation.reason) == (Status.FALSE, Reason.MISMATCH)


def test_ownership_is_unknown_while_the_key_cannot_be_looked_up() -> None:
    observation = seen({OWNERSHIP: absent("nothing"), DKIM: failed("time-out")})[Purpose.OWNERSHIP]
    assert observation.status is Status.UNKNOWN


def test_one_wrong_key_of_two_outweighs_an_unknown_one() -> None:
    records = domain_records(
        domain="acme.com",
        ownership_token="t",
        mx_hosts=[],
        egress_ips=[],
        dkim=[("s1", "QUJD"), ("s2", "WFla")],
        dmarc_rua=None,
    )
    table = {DKIM: failed("time-out"), ("s2._domainkey.acme.com", "TXT"): absent("nothing")}
    assert seen(table, records)[Purpose.DKIM].reason is Reason.MISSING


PTR = ("21.100.51.198.in-addr.arpa", "PTR")
NAME = ("out1.acme.com", "A")


@pytest.mark.parametrize(
    ("pointer", "forward", "status", "reason"),
    [
        (found(["out1.acme.com"]), found(IPS), Status.TRUE, Reason.OBSERVED),
        (found(["out1.acme.com"]), found([*IPS, "192.0.2.1"]), Status.TRUE, Reason.OBSERVED),
        (found(["out1.acme.com"]), found(["192.0.2.1"]), Status.FALSE, Reason.PTR_NOT_CONFIRMED),
        (found(["out1.acme.com"]), absent(""), Status.FALSE, Reason.PTR_NOT_CONFIRMED),
        (found(["out1.acme.com"]), failed(""), Status.UNKNOWN, Reason.RESOLVER_FAILED),
        (found(["other.com"]), found(IPS), Status.FALSE, Reason.MISMATCH),
        (found(["out1.acme.com", "other.com"]), found(IPS), Status.FALSE, Reason.MISMATCH),
        (absent(""), found(IPS), Status.FALSE, Reason.MISSING),
        (failed(""), absent(""), Status.UNKNOWN, Reason.RESOLVER_FAILED),
    ],
)
def test_a_pointer_is_confirmed_forward(
    pointer: Answer, forward: Answer, status: Status, reason: Reason
) -> None:
    resolver = Answering({PTR: pointer, NAME: forward})
    observation = verify_ptr(resolver, "198.51.100.21", "out1.acme.com")
    assert (observation.purpose, observation.status, observation.reason) == (
        Purpose.PTR,
        status,
        reason,
    )
