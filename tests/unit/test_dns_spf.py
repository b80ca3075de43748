import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.dns import spf
from orchestrator.errors import Invalid

IPS = st.lists(st.ip_addresses().map(str), min_size=1, max_size=4)
TERMS = st.lists(
    st.sampled_from(
        [
            "include:_spf.x.com",
            "~include:y.com",
            "a",
            "-mx/24",
            "ip4:10.0.0.0/8",
            "?ip4:192.0.2.0/24",
            "ip6:2001:db8::/32",
            "-ip6:::/1",
            "exists:%{i}.x.com",
            "ptr:x.com",
            "+a:b.com/24",
        ]
    ),
    max_size=6,
    unique=True,
)
ENDS = st.sampled_from(
    [[], ["-all"], ["~all"], ["?all"], ["redirect=_spf.x.com"], ["exp=e.x.com", "-all"]]
)


@given(IPS, TERMS, ENDS)
def test_merging_covers_keeps_and_settles(ips: list[str], terms: list[str], end: list[str]) -> None:
    theirs = ["v=spf1", *terms, *end]
    merged = spf.merge(" ".join(theirs), ips)
    assert spf.covers(merged, ips)
    assert spf.merge(merged, ips) == merged, "a second merge adds nothing"
    kept = merged.split()
    assert [kept[0], *kept[len(kept) - len(theirs) + 1 :]] == theirs, "their terms in their order"
    assert spf.lookups(merged) == spf.lookups(" ".join(theirs))


@pytest.mark.parametrize("existing", [None, "", "  "])
def test_a_record_of_our_own(existing: str | None) -> None:
    assert spf.merge(existing, ["198.51.100.21"]) == "v=spf1 ip4:198.51.100.21 -all"


@pytest.mark.parametrize(
    ("existing", "merged"),
    [
        (
            "v=spf1 include:_spf.google.com ~all",
            "v=spf1 ip4:198.51.100.21 include:_spf.google.com ~all",
        ),
        ("v=spf1 redirect=_spf.x.com", "v=spf1 ip4:198.51.100.21 redirect=_spf.x.com"),
        ("v=spf1 ip4:198.51.100.0/24 -all", "v=spf1 ip4:198.51.100.0/24 -all"),
        ("V=SPF1 IP4:198.51.100.21 -ALL", "V=SPF1 IP4:198.51.100.21 -ALL"),
        (
            "v=spf1 -ip4:198.51.100.21 mx -all",
            "v=spf1 ip4:198.51.100.21 -ip4:198.51.100.21 mx -all",
        ),
        ("v=spf1", "v=spf1 ip4:198.51.100.21"),
    ],
)
def test_merging(existing: str, merged: str) -> None:
    assert spf.merge(existing, ["198.51.100.21"]) == merged


def test_addresses_that_are_ours_no_more_are_dropped() -> None:
    existing = "v=spf1 ip4:198.51.100.22/32 ip4:198.51.100.21 -ip4:198.51.100.22 include:x.com ~all"
    merged = spf.merge(existing, ["198.51.100.21"], drop=["198.51.100.22", "198.51.100.21"])
    assert merged == "v=spf1 ip4:198.51.100.21 -ip4:198.51.100.22 include:x.com ~all"


@pytest.mark.parametrize(
    ("record", "covers"),
    [
        ("v=spf1 ip4:198.51.100.21 -all", True),
        ("v=spf1 +ip4:198.51.100.16/28", True),
        ("v=spf1 ip4:198.51.100.99/24 -all", True),
        ("v=spf1 ~ip4:198.51.100.21 -all", False),
        ("v=spf1 -all ip4:198.51.100.21", False),
        ("v=spf1 include:x.com -all", False),
        ("v=spf1 ip4:198.51.100.21 ipv4:1.2.3.4 -all", False),
        ("v=spf10 ip4:198.51.100.21", False),
        ("v=spf1 ip4:198.51.100.300 ip4:198.51.100.21", False),
    ],
)
def test_covering(record: str, covers: bool) -> None:
    assert spf.covers(record, ["198.51.100.21"]) is covers


@pytest.mark.parametrize(
    ("record", "fault"),
    [
        ("v=spf1 include -all", "isn't a mechanism"),
        ("v=spf1 all:x", "isn't a mechanism"),
        ("v=spf1 ip6:1.2.3.4", "isn't an address"),
        ("v=spf1 redirect=a.com redirect=b.com", "twice"),
        ("v=spf1 " + " ".join(f"include:{n}.com" for n in range(11)), "more than 10"),
        ("spf1", "doesn't start"),
    ],
)
def test_records_that_receivers_reject(record: str, fault: str) -> None:
    assert fault in (spf.problem(record) or "")
    with pytest.raises(Invalid, match="can't be extended"):
        spf.merge(record, ["198.51.100.21"])
    # Ten are allowed.
    assert spf.problem("v=spf1 " + " ".join(f"include:{n}.com" for n in range(10))) is None


@given(st.text())
def test_any_text_can_be_judged(text: str) -> None:
    assert not spf.covers(text, ["198.51.100.21"]) or spf.is_spf(text)
    assert (
        not spf.covers("v=spf1 " + text, ["198.51.100.21"]) or spf.problem("v=spf1 " + text) is None
    )
