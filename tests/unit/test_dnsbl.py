"""Blocklists: who is listed, which lists are believed, and what tells nothing."""

from collections.abc import Iterator

import pytest
from dnskit import NameServer, serving

from orchestrator.dns import dnsbl
from orchestrator.dns.dnsbl import Verdict

ZONE, OTHER = "bl.lists.net", "psbl.lists.org"
IP, REVERSE = "198.51.100.21", "21.100.51.198"
IP6 = "2001:db8::21"
REVERSE6 = "1.2.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2"
POINT6 = "2.0.0.0.0.0.f.7.f.f.f.f" + ".0" * 20


@pytest.fixture
def server() -> Iterator[NameServer]:
    with serving(ZONE, OTHER) as running:
        for zone in (ZONE, OTHER):
            running.list_ip("2.0.0.127", zone, "test")
        running.list_ip(POINT6, ZONE, "test")
        yield running


def ask(server: NameServer, ip: str = IP, zone: str = ZONE) -> dnsbl.Listing:
    (said,) = dnsbl.look(server.resolver(), [zone], ip)
    return said


def test_a_listed_address_is_told_with_code_and_reason(server: NameServer) -> None:
    assert ask(server).verdict is Verdict.CLEAN
    server.list_ip(REVERSE, ZONE, "seen\\009spamming")
    said = ask(server)
    assert said.verdict is Verdict.LISTED
    assert said.detail == "bl.lists.net lists it (127.0.0.2): seen spamming"
    assert ask(server, "198.51.100.22").verdict is Verdict.CLEAN
    assert ask(server, zone=OTHER).verdict is Verdict.CLEAN


def test_an_ipv6_address_is_asked_for_by_nibbles(server: NameServer) -> None:
    assert ask(server, IP6).verdict is Verdict.CLEAN
    server.list_ip(REVERSE6, ZONE)
    assert ask(server, IP6).verdict is Verdict.LISTED


def test_a_list_without_ipv6_is_ignored_for_it_only(server: NameServer) -> None:
    said = ask(server, IP6, OTHER)
    assert said.verdict is Verdict.IGNORED and "psbl.lists.org is ignored" in said.detail
    assert ask(server, IP, OTHER).verdict is Verdict.CLEAN


def test_a_list_that_lists_everything_or_nothing_is_ignored(server: NameServer) -> None:
    server.list_ip(REVERSE, ZONE)
    server.list_ip("1.0.0.127", ZONE)
    assert ask(server).verdict is Verdict.IGNORED
    server.delist_ip("1.0.0.127", ZONE)
    server.delist_ip("2.0.0.127", ZONE)
    assert ask(server).verdict is Verdict.IGNORED


@pytest.mark.parametrize("code", ["127.255.255.252", "127.255.255.254", "203.0.113.7"])
def test_a_refusal_or_a_catch_all_says_nothing(server: NameServer, code: str) -> None:
    server.set(f"{REVERSE}.{ZONE}", "A", code)
    said = ask(server)
    assert said.verdict is Verdict.UNKNOWN and code in said.detail
    server.delist_ip(REVERSE, ZONE)
    server.set(f"2.0.0.127.{ZONE}", "A", code)
    assert ask(server).verdict is Verdict.UNKNOWN


def test_a_resolver_failure_says_nothing(server: NameServer) -> None:
    server.list_ip(REVERSE, ZONE)
    server.broken.add(f"{REVERSE}.{ZONE}")
    assert ask(server).verdict is Verdict.UNKNOWN
    server.broken = {ZONE}
    assert ask(server).verdict is Verdict.UNKNOWN


def test_all_lists_are_asked(server: NameServer) -> None:
    server.list_ip(REVERSE, OTHER)
    said = dnsbl.look(server.resolver(), [ZONE, OTHER], IP)
    assert [listing.verdict for listing in said] == [Verdict.CLEAN, Verdict.LISTED]
    assert dnsbl.look(server.resolver(), [], IP) == []
