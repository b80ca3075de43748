from collections.abc import Iterable

import dns.rdatatype
import pytest
from dns.rdtypes.txtbase import TXTBase
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.conditions import Reason
from orchestrator.dns.answers import text_of
from orchestrator.dns.changes import goal
from orchestrator.dns.publishing import DnsUpdateError, ZoneKey, publish, rdata_of
from orchestrator.dns.records import ExpectedRecord, Purpose, spf_value


def record(purpose: Purpose, value: str) -> ExpectedRecord:
    kind = purpose.name if purpose in {Purpose.MX, Purpose.PTR} else "TXT"
    return ExpectedRecord(purpose, kind, "acme.com", value)


def spf(*ips: str) -> ExpectedRecord:
    return record(Purpose.SPF, spf_value(ips))


MX1, MX2 = (record(Purpose.MX, f"10 mx{n}.fleetlab.net") for n in (1, 2))
DKIM = record(Purpose.DKIM, "v=DKIM1; p=QUJD")
DMARC = record(Purpose.DMARC, "v=DMARC1; p=quarantine")
CHALLENGE = record(Purpose.CHALLENGE, "ours")
TOKEN = record(Purpose.OWNERSHIP, "mailfleet-verification=a")


@pytest.mark.parametrize(
    ("current", "wanted", "unwanted", "after"),
    [
        (["5 old.com"], [MX1, MX2], [], {MX1.value, MX2.value}),
        # Two MTAs of a cluster order a certificate for its name at the same time.
        (["theirs"], [CHALLENGE], [], {"theirs", CHALLENGE.value}),
        (["theirs", CHALLENGE.value], [], [CHALLENGE], {"theirs"}),
        # Orders that were cut off.
        ([f"left {n}" for n in range(8)], [CHALLENGE], [], {CHALLENGE.value}),
        (["site=x"], [spf("192.0.2.1")], [], {"site=x", "v=spf1 ip4:192.0.2.1 -all"}),
        (
            ["site=x", "v=spf1 include:x.com ~all"],
            [spf("192.0.2.1")],
            [],
            {"site=x", "v=spf1 ip4:192.0.2.1 include:x.com ~all"},
        ),
        (
            ["v=spf1 ip4:192.0.2.2 ip4:192.0.2.1 mx ~all"],
            [spf("192.0.2.1")],
            [spf("192.0.2.2", "192.0.2.1")],
            {"v=spf1 ip4:192.0.2.1 mx ~all"},
        ),
        (["v=spf1 ip4:192.0.2.1 -all", "x"], [], [spf("192.0.2.1")], {"x"}),
        (["v=spf1 -all"], [], [spf("192.0.2.1")], {"v=spf1 -all"}),
        (["v=spf1 ip4:192.0.2.1 mx -all"], [], [spf("192.0.2.1")], {"v=spf1 mx -all"}),
        (["v=DKIM1; p=old"], [DKIM], [], {DKIM.value}),
        ([], [DMARC], [], {DMARC.value}),
        (["v=DMARC1; p=reject", "x"], [DMARC], [], {"v=DMARC1; p=reject", "x"}),
        (["x"], [DMARC], [], {"x", DMARC.value}),
        (["v=DMARC1; p=reject"], [], [DMARC], {"v=DMARC1; p=reject"}),
        (["mailfleet-verification=b"], [TOKEN], [], {"mailfleet-verification=b", TOKEN.value}),
        ([MX1.value, "20 theirs.com"], [], [MX1], {"20 theirs.com"}),
        ([], [], [MX1], set()),
    ],
)
def test_what_an_rrset_becomes(
    current: Iterable[str],
    wanted: list[ExpectedRecord],
    unwanted: list[ExpectedRecord],
    after: set[str],
) -> None:
    reached = goal(current, wanted, unwanted)
    assert reached.reason is None
    assert reached.values == after
    assert goal(reached.values, wanted, unwanted).values == after, "it stays so"


@pytest.mark.parametrize(
    ("current", "reason"),
    [
        (["v=spf1 -all", "v=spf1 mx -all"], Reason.AMBIGUOUS),
        (["v=spf1 nonsense:x"], Reason.MISMATCH),
    ],
)
def test_a_tenants_own_defect_is_left_alone_and_told(current: list[str], reason: Reason) -> None:
    reached = goal(current, [spf("192.0.2.1")], [])
    assert (set(reached.values), reached.reason) == (set(current), reason)
    assert reached.problem


@given(st.text(st.characters(codec="utf-8"), max_size=900))
def test_any_text_survives_a_txt_record(text: str) -> None:
    rdata = rdata_of(dns.rdatatype.TXT, text)
    assert isinstance(rdata, TXTBase)
    assert text_of(rdata) == text
    assert all(len(part) <= 255 for part in rdata.strings)


def test_names_in_records_are_absolute() -> None:
    assert rdata_of(dns.rdatatype.MX, MX1.value).to_text() == "10 mx1.fleetlab.net."
    assert rdata_of(dns.rdatatype.PTR, "mx1.fleetlab.net").to_text() == "mx1.fleetlab.net."


@pytest.mark.parametrize(
    ("zone", "secret", "reason"),
    [
        ("other.com", "c2VjcmV0", Reason.NOT_MANAGED),
        ("acme.com", "not base64!", Reason.TSIG_REJECTED),
        ("acme.com", "c2VjcmV0", Reason.SERVER_UNREACHABLE),
    ],
)
def test_publishing_fails_with_a_reason(zone: str, secret: str, reason: Reason) -> None:
    # Port 1 of the loopback: nobody listens.
    key = ZoneKey(zone, "127.0.0.1", 1, "key", "hmac-sha256", secret)
    assert secret not in repr(key)
    with pytest.raises(DnsUpdateError) as caught:
        publish(key, [MX1], timeout=2)
    assert caught.value.reason is reason
    assert secret not in str(caught.value)


def test_an_unknown_algorithm_is_a_problem_of_the_key() -> None:
    key = ZoneKey("acme.com", "127.0.0.1", 1, "key", "hmac-rot13", "c2VjcmV0")
    with pytest.raises(DnsUpdateError) as caught:
        publish(key, [MX1], timeout=2)
    assert caught.value.reason is Reason.TSIG_REJECTED
