import pytest

from orchestrator.dns.records import (
    Purpose,
    address_records,
    canonical_ips,
    domain_records,
    fqdn,
    host_records,
)
from orchestrator.dns.tags import parse_tags
from orchestrator.dns.zones import covering_zone
from orchestrator.errors import Invalid


def test_the_records_of_a_domain() -> None:
    records = domain_records(
        domain="Acme.COM.",
        ownership_token="t0k",
        mx_hosts=["mx1.fleetlab.net", "MX2.fleetlab.net.", "mx1.fleetlab.net"],
        egress_ips=["2001:db8::0:1", "198.51.100.22", "::ffff:198.51.100.21"],
        dkim=[("s1", "AB C\nD")],
        dmarc_rua="dmarc@acme.com",
    )
    assert [(r.purpose, r.type, r.name, r.value) for r in records] == [
        (Purpose.OWNERSHIP, "TXT", "_mailfleet.acme.com", "mailfleet-verification=t0k"),
        (Purpose.MX, "MX", "acme.com", "10 mx1.fleetlab.net"),
        (Purpose.MX, "MX", "acme.com", "10 mx2.fleetlab.net"),
        (
            Purpose.SPF,
            "TXT",
            "acme.com",
            "v=spf1 ip4:198.51.100.21 ip4:198.51.100.22 ip6:2001:db8::1 -all",
        ),
        (Purpose.DKIM, "TXT", "s1._domainkey.acme.com", "v=DKIM1; k=rsa; p=ABCD"),
        (
            Purpose.DMARC,
            "TXT",
            "_dmarc.acme.com",
            "v=DMARC1; p=quarantine; rua=mailto:dmarc@acme.com",
        ),
    ]


def test_a_domain_without_addresses_forbids_nobody_to_send() -> None:
    records = domain_records(
        domain="acme.com", ownership_token="t", mx_hosts=[], egress_ips=[], dkim=[], dmarc_rua=None
    )
    assert {record.purpose for record in records} == {Purpose.OWNERSHIP, Purpose.DMARC}


@pytest.mark.parametrize("name", ["", "a..b", "münchen.de", "a b.com", "-a.com", "x" * 64 + ".com"])
def test_names_that_are_no_ascii_dns_names_are_refused(name: str) -> None:
    with pytest.raises(Invalid):
        fqdn(name)


def test_addresses_that_are_none_are_refused() -> None:
    with pytest.raises(Invalid, match="not an IP address"):
        canonical_ips(["198.51.100.256"])


def test_an_address_has_a_name_and_a_pointer_back() -> None:
    assert [
        (r.type, r.name, r.value) for r in address_records("198.51.100.21", "Out1.acme.com")
    ] == [
        ("A", "out1.acme.com", "198.51.100.21"),
        ("PTR", "21.100.51.198.in-addr.arpa", "out1.acme.com"),
    ]
    forward, back = address_records("2001:db8::21", "out1.acme.com")
    assert (forward.type, forward.value) == ("AAAA", "2001:db8::21")
    assert back.name.startswith("1.2.0.0.") and back.name.endswith(".8.b.d.0.1.0.0.2.ip6.arpa")


def test_a_host_has_both_for_each_address() -> None:
    kinds = [r.type for r in host_records("mx1.fleetlab.net", ["2001:db8::1", "198.51.100.11"])]
    assert kinds == ["A", "PTR", "AAAA", "PTR"]


def test_the_longest_zone_covers() -> None:
    zones = ["acme.com", "eu.acme.com.", "me.com"]
    assert covering_zone("_dmarc.x.EU.acme.com", zones) == "eu.acme.com."
    assert covering_zone("acme.com", zones) == "acme.com"
    assert covering_zone("xacme.com", zones) is None


@pytest.mark.parametrize(
    ("text", "tags"),
    [
        ("v=DKIM1; k = rsa ;p=a=b;", {"v": "DKIM1", "k": "rsa", "p": "a=b"}),
        ("v=DKIM1; v=DKIM1", None),
        ("nonsense", None),
        ("", None),
        ("1a=b", None),
    ],
)
def test_tag_lists(text: str, tags: dict[str, str] | None) -> None:
    assert parse_tags(text) == tags
