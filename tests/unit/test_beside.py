"""A fleet beside the lab: the same description, and nothing of it on the lab's networks."""

import tomllib

import pytest

from orchestrator.lab import beside, topology
from orchestrator.lab.errors import LabError


def test_it_is_the_labs_fleet_elsewhere() -> None:
    text = beside.description("other", 54, {})
    theirs, ours = topology.parse(tomllib.loads(text)), topology.load()
    assert str(theirs.network.ipv4) == "198.18.54.0/24"
    assert str(theirs.network.ipv6) == "2001:db8:54::/64"
    assert {"54.18.198.in-addr.arpa", "0.0.0.0.4.5.0.0.8.b.d.0.1.0.0.2.ip6.arpa"} < set(
        theirs.dns.managed
    )
    assert not set(theirs.dns.managed) & {z for z in ours.dns.managed if z.endswith(".arpa")}
    assert (theirs.network.name, theirs.control_plane.api_port) == ("other", 8054)
    assert [host.name for host in theirs.hosts] == [host.name for host in ours.hosts]


def test_what_is_no_longer_there_is_missed() -> None:
    with pytest.raises(LabError, match="has no 'nothing like it' any more"):
        beside.description("other", 54, {"nothing like it": "x"})
