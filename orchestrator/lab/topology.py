"""Reads ``inventory/lab.toml``, the one description of the test fleet."""

import ipaddress
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from orchestrator.lab.errors import LabError

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

#: Used when no other file is named.
DEFAULT_FILE = Path(__file__).resolve().parents[2] / "inventory" / "lab.toml"


@dataclass(frozen=True, kw_only=True)
class Network:
    """The lab's internal network; ``control_plane`` is its bridge's address on this machine."""

    name: str
    ipv4: ipaddress.IPv4Network
    ipv6: ipaddress.IPv6Network
    control_plane: ipaddress.IPv4Address
    control_plane6: ipaddress.IPv6Address


@dataclass(frozen=True, kw_only=True)
class ControlPlane:
    """Ports on loopback where the fleet's own Mailfleet answers."""

    api_port: int
    metrics_port: int


@dataclass(frozen=True, kw_only=True)
class Fleet:
    """Names that belong to the fleet itself."""

    domain: str
    probe_domain: str


@dataclass(frozen=True, kw_only=True)
class Dns:
    """The name servers' addresses, their keys' names and the zones they serve."""

    authoritative: ipaddress.IPv4Address
    authoritative6: ipaddress.IPv6Address
    resolver: ipaddress.IPv4Address
    resolver6: ipaddress.IPv6Address
    tsig_name: str
    tsig_algorithm: str
    customer_tsig_name: str
    managed: tuple[str, ...]
    foreign: tuple[str, ...]
    #: A blocklist (RFC 5782) that the customer's key may put entries into.
    blocklist: str


@dataclass(frozen=True, kw_only=True)
class Host:
    """One mail host: its own two addresses and the dedicated ones (as text) on its interface."""

    name: str
    os: str
    address: ipaddress.IPv4Address
    address6: ipaddress.IPv6Address
    dedicated_ips: tuple[str, ...]

    @property
    def dedicated(self) -> tuple[Address, ...]:
        """The dedicated addresses."""
        return tuple(ipaddress.ip_address(text) for text in self.dedicated_ips)


@dataclass(frozen=True, kw_only=True)
class NameServer:
    """The container that holds both name servers."""

    name: str


@dataclass(frozen=True, kw_only=True)
class World:
    """The independent mail server that stands for the rest of the internet."""

    name: str
    address: ipaddress.IPv4Address
    address6: ipaddress.IPv6Address
    domain: str
    mailbox: str


@dataclass(frozen=True, kw_only=True)
class Demo:
    """The demonstration workspace that ``make up`` converges; ``mailboxes`` maps host to name.

    ``user`` (at the domain) has the token for the workspace's cluster, which is in ``region``.
    """

    workspace: str
    domain: str
    mailboxes: dict[str, str]
    region: str
    user: str


@dataclass(frozen=True, kw_only=True)
class Topology:
    """The whole test fleet."""

    network: Network
    control_plane: ControlPlane
    fleet: Fleet
    dns: Dns
    hosts: tuple[Host, ...]
    ns: NameServer
    world: World
    demo: Demo
    #: Vagrant's box for each provider and operating system.
    vagrant: dict[str, dict[str, str]]
    #: How many times longer than usual Vagrant's machines may take: emulated ones are slow.
    patience: float = 1.0

    def seconds(self, usual: float) -> float:
        """Return how long to wait for these machines for what usually takes so long at most."""
        return usual * self.patience

    def hostname(self, host: Host) -> str:
        """Return the host's full name."""
        return f"{host.name}.{self.fleet.domain}"

    def prefixed(self, address: Address) -> str:
        """Return ``address/prefixlen`` with the network's prefix length."""
        net = self.network.ipv4 if address.version == 4 else self.network.ipv6
        return f"{address}/{net.prefixlen}"


def load(path: Path = DEFAULT_FILE) -> Topology:
    """Read and check the topology file.

    :raises LabError: when it is missing, malformed, or names an address outside the network,
        twice, or an operating system that no image exists for.
    """
    try:
        values = tomllib.loads(path.read_text())
    except OSError as error:
        raise LabError(f"can't read the lab's topology {path}: {error.strerror}") from None
    except tomllib.TOMLDecodeError as error:
        raise LabError(f"{path} is not valid TOML: {error}") from None
    try:
        topology = parse(values)
    except ValueError as error:
        raise LabError(f"{path}: {error}") from None
    return topology


def parse(values: dict[str, Any]) -> Topology:
    """Turn the file's values into a Topology.

    :raises ValueError: saying what is wrong and where.
    """
    topology = msgspec.convert(values, Topology, dec_hook=_decode)
    _check(topology)
    return topology


def _decode(kind: type, value: object) -> object:
    """Convert what msgspec does not know: IP addresses and networks."""
    if kind.__module__ == "ipaddress" and isinstance(value, str):
        return kind(value)
    raise ValueError(f"{value!r} is not a {kind.__name__}")


def _check(topology: Topology) -> None:
    net, dns, world = topology.network, topology.dns, topology.world
    named: list[tuple[str, Address]] = [
        ("network.control_plane", net.control_plane),
        ("network.control_plane6", net.control_plane6),
        ("dns.authoritative", dns.authoritative),
        ("dns.authoritative6", dns.authoritative6),
        ("dns.resolver", dns.resolver),
        ("dns.resolver6", dns.resolver6),
        ("world.address", world.address),
        ("world.address6", world.address6),
    ]
    for host in topology.hosts:
        if host.os not in ("debian12", "debian13"):
            raise ValueError(f"hosts.{host.name}.os is {host.os!r}: use debian12 or debian13")
        named += [(f"hosts.{host.name}.address", host.address)]
        named += [(f"hosts.{host.name}.address6", host.address6)]
        named += [(f"hosts.{host.name}.dedicated_ips", ip) for ip in host.dedicated]
    seen: dict[Address, str] = {}
    for where, address in named:
        inside = address in net.ipv4 if address.version == 4 else address in net.ipv6
        if not inside:
            raise ValueError(f"{where} = {address} is outside the network {net.ipv4}, {net.ipv6}")
        if address in seen:
            raise ValueError(f"{where} = {address} is already {seen[address]}")
        seen[address] = where
    names = [host.name for host in topology.hosts] + [topology.ns.name, world.name]
    if len(set(names)) != len(names):
        raise ValueError(f"two machines have one name: {', '.join(sorted(names))}")
    for zone in set(dns.managed) & set(dns.foreign):
        raise ValueError(f"the zone {zone} is both managed and foreign")
