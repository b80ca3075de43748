"""Resolver, verification and publishing on the lab's own Knot and Unbound."""

import dataclasses
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from orchestrator.conditions import Reason, Status
from orchestrator.dns.answers import AnswerStatus
from orchestrator.dns.publishing import DnsUpdateError, ZoneKey, publish
from orchestrator.dns.records import ExpectedRecord, Purpose, address_records, domain_records
from orchestrator.dns.resolver import Resolver
from orchestrator.dns.verification import verify_ptr, verify_records

pytestmark = pytest.mark.lab

ROOT = Path(__file__).resolve().parents[2]
IPS = ["198.51.100.21", "2001:db8:51::21"]
#: An address of the lab's network that no machine has.
FREE_IP = "198.51.100.249"


@pytest.fixture
def resolver(lab: dict[str, Any]) -> Resolver:
    return Resolver([lab["resolver"]], 5.0)


def zone_key(lab: dict[str, Any], zone: str) -> ZoneKey:
    described = lab["dns"]
    secret = (ROOT / described["tsig_secret_file"]).read_text().strip()
    return ZoneKey(
        zone,
        described["authoritative"],
        53,
        described["tsig_name"],
        described["tsig_algorithm"],
        secret,
    )


@pytest.fixture
def key(lab: dict[str, Any]) -> ZoneKey:
    return zone_key(lab, lab["dns"]["managed"][-1])


@pytest.fixture
def domain(key: ZoneKey, resolver: Resolver) -> Iterator[str]:
    """A name of its own in the managed zone, empty before and after."""
    name = f"t{uuid.uuid4().hex[:12]}.{key.zone}"
    yield name
    leftovers = []
    for prefix in ("", "_mailfleet.", "_dmarc.", "s1._domainkey."):
        for kind in ("TXT", "MX"):
            owner = prefix + name
            leftovers += [
                ExpectedRecord(Purpose.DKIM, kind, owner, value)
                for value in resolver.authoritative(owner, kind).values
            ]
    publish(key, [], remove=leftovers)


def records_of(domain: str, ips: list[str] = IPS, token: str = "t0k") -> list[ExpectedRecord]:
    return domain_records(
        domain=domain,
        ownership_token=token,
        mx_hosts=["mx1.fleetlab.net", "mx2.fleetlab.net"],
        egress_ips=ips,
        dkim=[("s1", "QUJD" * 98)],
        dmarc_rua=None,
    )


def txt(purpose: Purpose, name: str, value: str) -> ExpectedRecord:
    return ExpectedRecord(purpose, "TXT", name, value)


def test_published_records_are_seen_at_once(key: ZoneKey, resolver: Resolver, domain: str) -> None:
    records = records_of(domain)
    missing = verify_records(resolver, records, spf_ips=IPS)
    assert {(o.status, o.reason) for o in missing} == {(Status.FALSE, Reason.MISSING)}
    assert publish(key, records) is True
    seen = verify_records(resolver, records, spf_ips=IPS)
    purposes = (Purpose.OWNERSHIP, Purpose.MX, Purpose.SPF, Purpose.DKIM, Purpose.DMARC)
    assert {o.purpose: o.status for o in seen} == dict.fromkeys(purposes, Status.TRUE)
    assert publish(key, records) is False, "a second pass has nothing to do"
    assert publish(key, [], remove=records) is True
    gone = verify_records(resolver, records, spf_ips=IPS)
    assert {o.reason for o in gone} == {Reason.MISSING}


def test_what_the_tenant_published_is_kept(key: ZoneKey, resolver: Resolver, domain: str) -> None:
    theirs = [
        txt(Purpose.OWNERSHIP, domain, "site-verification=x"),
        txt(Purpose.OWNERSHIP, domain, "v=spf1 include:worldpost.org ~all"),
        txt(Purpose.OWNERSHIP, f"_dmarc.{domain}", "v=DMARC1; p=reject"),
    ]
    publish(key, theirs)
    assert publish(key, records_of(domain)) is True
    assert resolver.authoritative(domain, "TXT").values == (
        "site-verification=x",
        f"v=spf1 ip4:{IPS[0]} ip6:{IPS[1]} include:worldpost.org ~all",
    )
    assert resolver.authoritative(f"_dmarc.{domain}", "TXT").values == ("v=DMARC1; p=reject",)
    # An address moves away: only its own term goes.
    publish(key, records_of(domain, IPS[:1]), remove=records_of(domain))
    assert resolver.authoritative(domain, "TXT").values == (
        "site-verification=x",
        f"v=spf1 ip4:{IPS[0]} include:worldpost.org ~all",
    )


def test_two_spf_records_are_told_and_the_rest_is_published(
    key: ZoneKey, resolver: Resolver, domain: str
) -> None:
    publish(key, [txt(Purpose.OWNERSHIP, domain, f"v=spf1 {x} -all") for x in ("a", "mx")])
    with pytest.raises(DnsUpdateError) as caught:
        publish(key, records_of(domain))
    assert caught.value.reason is Reason.AMBIGUOUS
    seen = {o.purpose: o for o in verify_records(resolver, records_of(domain), spf_ips=IPS)}
    assert (seen[Purpose.SPF].status, seen[Purpose.SPF].reason) == (
        Status.FALSE,
        Reason.AMBIGUOUS,
    )
    assert seen[Purpose.DKIM].status is Status.TRUE


def test_concurrent_edits_are_not_lost(key: ZoneKey, resolver: Resolver, domain: str) -> None:
    tokens = [txt(Purpose.OWNERSHIP, domain, f"token={n}") for n in range(4)]

    def add(token: ExpectedRecord) -> bool:
        while True:
            try:
                return publish(key, [token])
            except DnsUpdateError as error:
                # Outrun three times in a row: the reconciler's next pass does this.
                assert error.reason is Reason.UPDATE_REFUSED, error

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(add, tokens))
    assert len(resolver.authoritative(domain, "TXT").values) == 4


def test_a_pointer_is_published_and_confirmed(lab: dict[str, Any], resolver: Resolver) -> None:
    name = f"free.{lab['dns']['managed'][0]}"
    records = address_records(FREE_IP, name)
    reverse = next(zone for zone in lab["dns"]["managed"] if zone.endswith("in-addr.arpa"))
    keys = [zone_key(lab, lab["dns"]["managed"][0]), zone_key(lab, reverse)]
    try:
        assert publish(keys[1], [records[1]]) is True
        assert verify_ptr(resolver, FREE_IP, name).reason is Reason.PTR_NOT_CONFIRMED
        assert publish(keys[0], [records[0]]) is True
        assert verify_ptr(resolver, FREE_IP, name).status is Status.TRUE
        assert verify_ptr(resolver, FREE_IP, "other.fleetlab.net").reason is Reason.MISMATCH
    finally:
        for key, record in zip(keys, records, strict=True):
            publish(key, [], remove=[record])


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"tsig_secret": "d3Jvbmc="}, Reason.TSIG_REJECTED),
        ({"tsig_name": "nobody"}, Reason.UPDATE_REFUSED),
        ({"zone": "nobody-serves-this.net"}, Reason.UPDATE_REFUSED),
        ({"port": 5399}, Reason.SERVER_UNREACHABLE),
    ],
)
def test_refusals_have_reasons(key: ZoneKey, change: dict[str, Any], reason: Reason) -> None:
    broken = dataclasses.replace(key, **change)
    with pytest.raises(DnsUpdateError) as caught:
        publish(broken, records_of(f"x.{broken.zone}"), timeout=3)
    assert caught.value.reason is reason
    assert key.tsig_secret not in str(caught.value)


def test_a_foreign_zone_refuses_our_key(lab: dict[str, Any]) -> None:
    zone = lab["dns"]["foreign"][0]
    with pytest.raises(DnsUpdateError) as caught:
        publish(zone_key(lab, zone), records_of(zone), timeout=3)
    assert caught.value.reason is Reason.UPDATE_REFUSED


def test_a_record_outside_the_zone_is_not_managed(key: ZoneKey) -> None:
    with pytest.raises(DnsUpdateError) as caught:
        publish(key, records_of("bring-your-own.net"))
    assert caught.value.reason is Reason.NOT_MANAGED


def test_both_ways_to_ask_agree(resolver: Resolver, lab: dict[str, Any]) -> None:
    world = lab["world"]["domain"]
    for name, kind, status in [
        (world, "MX", AnswerStatus.FOUND),
        (f"_dmarc.{world}", "TXT", AnswerStatus.FOUND),
        (f"nothing-here.{world}", "TXT", AnswerStatus.ABSENT),
        ("nobody-registered-this.net", "MX", AnswerStatus.ABSENT),
    ]:
        direct, cached = resolver.authoritative(name, kind), resolver.lookup(name, kind)
        assert (direct.status, direct.values) == (status, cached.values)
        assert cached.status is status
