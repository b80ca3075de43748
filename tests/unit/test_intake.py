"""What may be written for addresses that come into the pool, and their names."""

import pytest
from dnskit import serving
from storekit import Store

from orchestrator import db
from orchestrator.dns.verification import confirmed_name
from orchestrator.errors import Conflict, Invalid, Unavailable
from orchestrator.models import AddressState, Host
from orchestrator.services import addresses, intake


@pytest.mark.parametrize(
    ("text", "count", "first", "last"),
    [
        ("198.51.100.21", 1, "198.51.100.21", "198.51.100.21"),
        ("198.51.100.21-198.51.100.28", 8, "198.51.100.21", "198.51.100.28"),
        ("198.51.100.21-28", 8, "198.51.100.21", "198.51.100.28"),
        ("198.51.100.16/28", 14, "198.51.100.17", "198.51.100.30"),
        ("198.51.100.16/31", 2, "198.51.100.16", "198.51.100.17"),
        ("198.51.100.16/32", 1, "198.51.100.16", "198.51.100.16"),
        ("2001:db8::20/126", 4, "2001:db8::20", "2001:db8::23"),
        ("2001:db8::21-2001:db8::2a", 10, "2001:db8::21", "2001:db8::2a"),
        ("2001:db8::21-2a", 10, "2001:db8::21", "2001:db8::2a"),
        ("2001:db8::/116", 4096, "2001:db8::", "2001:db8::fff"),
    ],
)
def test_addresses_are_written_in_many_ways(text: str, count: int, first: str, last: str) -> None:
    found = intake.expand([text])
    assert (len(found), found[0], found[-1]) == (count, first, last)


def test_what_is_given_twice_is_one(store: Store) -> None:
    assert len(intake.expand(["198.51.100.21", "198.51.100.20-22", "198.51.100.21/32"])) == 3


@pytest.mark.parametrize(
    "text",
    [
        "",
        "mx1",
        "198.51.100.21-",
        "198.51.100.28-21",
        "198.51.100.21-300",
        "198.51.100.21-2001:db8::1",
        "198.51.100.21/28",
        "10.0.0.0/8",
        "2001:db8::/64",
        "2001:db8::-2001:db8:1::",
        "127.0.0.1",
        "224.0.0.0/30",
    ],
)
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(Invalid):
        intake.expand([text])


def test_the_bound_is_for_all_together() -> None:
    with pytest.raises(Invalid, match="4096"):
        intake.expand(["198.18.0.0/20", "198.51.100.1-3"])


def test_names_are_made_from_the_address() -> None:
    assert intake.names(["198.51.100.21", "2001:db8::21"], "out-{ip}.fleet.net") == {
        "198.51.100.21": "out-198-51-100-21.fleet.net",
        "2001:db8::21": "out-2001-db8--21.fleet.net",
    }
    assert intake.name_of("2001:db8::", "{ip}.fleet.net").startswith("2001-0db8-0000-")
    assert intake.names(["198.51.100.21"], "mail.fleet.net") == {"198.51.100.21": "mail.fleet.net"}
    with pytest.raises(Invalid, match="several addresses"):
        intake.names(["198.51.100.21", "198.51.100.22"], "mail.fleet.net")
    with pytest.raises(Invalid):
        intake.names(["198.51.100.21"], "{host}.fleet.net")


def test_all_come_in_or_none(store: Store) -> None:
    host = store.host()
    store.pool(host, "198.51.100.23")
    wanted = intake.expand(["198.51.100.21-24"])
    named = intake.names(wanted, "out-{ip}.fleet.net")
    with pytest.raises(Conflict), db.writing(store.engine) as session:
        intake.add(session, session.get_one(Host, host.id), named)
    del named["198.51.100.23"]
    with db.writing(store.engine) as session:
        assert len(addresses.list_(session)) == 1
        intake.add(session, session.get_one(Host, host.id), named)
    with db.reading(store.engine) as session:
        seen = intake.arrivals(session, wanted)
    assert [(row.ip[-2:], row.state, row.settled) for row in seen] == [
        ("21", AddressState.NEW, False),
        ("22", AddressState.NEW, False),
        ("23", AddressState.FREE, True),
        ("24", AddressState.NEW, False),
    ]


def test_a_name_that_points_back_is_taken_over() -> None:
    with serving("carrier.net", "100.51.198.in-addr.arpa") as dns:
        dns.set("21.100.51.198.in-addr.arpa", "PTR", "a21.carrier.net.")
        dns.set("22.100.51.198.in-addr.arpa", "PTR", "a22.carrier.net.")
        dns.set("23.100.51.198.in-addr.arpa", "PTR", "a23_.carrier.net.")
        dns.set("a21.carrier.net", "A", "198.51.100.21")
        asked = dns.resolver()
        assert confirmed_name(asked, "198.51.100.21") == "a21.carrier.net"
        assert confirmed_name(asked, "198.51.100.22") is None
        assert confirmed_name(asked, "198.51.100.23") is None
        assert confirmed_name(asked, "198.51.100.24") is None
        dns.broken = {"100.51.198.in-addr.arpa"}
        with pytest.raises(Unavailable):
            confirmed_name(asked, "198.51.100.21")
