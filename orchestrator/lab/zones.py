"""The contents of the lab's zones at their beginning. Pure; the fleet publishes the rest."""

import ipaddress
from collections.abc import Iterable

from orchestrator.dns.dnsbl import TEST_POINTS, query_name
from orchestrator.lab.topology import Address, Topology

#: Selector of the world's own DKIM key.
WORLD_SELECTOR = "world"

_TTL = 5


def reverse_name(net: ipaddress.IPv4Network | ipaddress.IPv6Network) -> str:
    """Return the reverse zone's name of a network on an octet or nibble boundary."""
    full = net.network_address.reverse_pointer.split(".")
    step = 8 if net.version == 4 else 4
    return ".".join(full[(net.max_prefixlen - net.prefixlen) // step :])


def infrastructure(topology: Topology) -> dict[Address, str]:
    """Return the names of the machines that are not the fleet's: they get a PTR at once."""
    dns, net, world = topology.dns, topology.network, topology.world
    domain = topology.fleet.domain
    return {
        net.control_plane: f"control.{domain}",
        net.control_plane6: f"control.{domain}",
        dns.authoritative: _nameserver(topology),
        dns.authoritative6: _nameserver(topology),
        dns.resolver: f"resolver.{domain}",
        dns.resolver6: f"resolver.{domain}",
        world.address: f"{world.name}.{world.domain}",
        world.address6: f"{world.name}.{world.domain}",
    }


def root_zone(topology: Topology, delegated: Iterable[str], *, serial: int) -> str:
    """Return the root zone: one delegation for each zone, so that all else does not exist."""
    server = _nameserver(topology)
    lines = _head(topology, serial)
    lines += [f"{name}. NS {server}." for name in sorted(delegated)]
    lines += _glue(topology)
    return "\n".join(lines) + "\n"


def zone_text(topology: Topology, name: str, *, serial: int, dkim_public: str = "") -> str:
    """Return a zone's first contents.

    The fleet's zone and the reverse zones name the infrastructure, the world's zone is complete,
    the blocklist has the test entries of RFC 5782 section 5, and any other zone has a SOA and an
    NS record only.

    :param dkim_public: ``p=`` value of the world's DKIM key, where there is one.
    """
    lines = _head(topology, serial)
    domain, world = topology.fleet.domain, topology.world
    machines = infrastructure(topology)
    if name.endswith(".arpa"):
        for address, hostname in machines.items():
            if address.reverse_pointer.endswith(f".{name}"):
                lines.append(f"{address.reverse_pointer}. PTR {hostname}.")
        return "\n".join(lines) + "\n"
    if name == topology.dns.blocklist:
        lines += _test_entries(name)
    for address, hostname in machines.items():
        if hostname.endswith(f".{name}"):
            lines.append(f"{hostname}. {'A' if address.version == 4 else 'AAAA'} {address}")
    if topology.fleet.probe_domain.endswith(f".{name}"):
        lines.append(f"{topology.fleet.probe_domain}. MX 10 control.{domain}.")
    if name == world.domain:
        hostname = f"{world.name}.{world.domain}"
        lines += [
            f"{name}. MX 10 {hostname}.",
            f"{name}. A {world.address}",
            f"{name}. AAAA {world.address6}",
            f'{name}. TXT "v=spf1 ip4:{world.address} ip6:{world.address6} -all"',
            # Bounces have no sender: their SPF is looked up under the EHLO name.
            f'{hostname}. TXT "v=spf1 a -all"',
            f'_dmarc.{name}. TXT "v=DMARC1; p=reject; adkim=s; aspf=s"',
        ]
        if dkim_public:
            parts = [dkim_public[i : i + 200] for i in range(0, len(dkim_public), 200)]
            value = '"v=DKIM1; k=rsa; p=' + '" "'.join(parts) + '"'
            lines.append(f"{WORLD_SELECTOR}._domainkey.{name}. TXT {value}")
    return "\n".join(lines) + "\n"


def _test_entries(zone: str) -> list[str]:
    lines = []
    for present, _ in TEST_POINTS.values():
        name = query_name(present, zone)
        lines += [f"{name}. A 127.0.0.2", f'{name}. TXT "test entry"']
    return lines


def _nameserver(topology: Topology) -> str:
    return f"{topology.ns.name}.{topology.fleet.domain}"


def _head(topology: Topology, serial: int) -> list[str]:
    server = _nameserver(topology)
    mail = f"hostmaster.{topology.fleet.domain}"
    return [
        f"$TTL {_TTL}",
        # The last number is for how long "no such name" may be believed.
        f"@ SOA {server}. {mail}. {serial} 3600 600 604800 1",
        f"@ NS {server}.",
    ]


def _glue(topology: Topology) -> list[str]:
    server, dns = _nameserver(topology), topology.dns
    return [f"{server}. A {dns.authoritative}", f"{server}. AAAA {dns.authoritative6}"]
