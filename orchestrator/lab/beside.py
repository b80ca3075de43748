"""A fleet of Vagrant's that stands beside the lab: on another network, with ports of its own."""

import ipaddress
from collections.abc import Mapping
from pathlib import Path

from orchestrator.lab import topology
from orchestrator.lab.errors import LabError

#: The lab's networks, up to the part that tells machines apart.
IPV4, IPV6 = "198.51.100.", "2001:db8:51:"


def description(name: str, number: int, others: Mapping[str, str]) -> str:
    """Return the lab's description as that of another fleet.

    :param name: its network's.
    :param number: of its networks, 198.18.N.0/24 (RFC 2544: for tests of networks) and
        2001:db8:N::/64; its API listens on port 8000 + N, its metrics on 8100 + N.
    :param others: what else stands there, and what is to stand in its place.
    :raises LabError: when the description no longer has what is to be replaced.
    """
    ipv4, ipv6 = f"198.18.{number}.", f"2001:db8:{number}:"
    replaced = {
        '"mailfleet-lab"\nipv4': f'"{name}"\nipv4',
        IPV4: ipv4,
        _reverse(f"{IPV4}0", 3): _reverse(f"{ipv4}0", 3),
        IPV6: ipv6,
        _reverse(f"{IPV6}:", 16): _reverse(f"{ipv6}:", 16),
        "api_port = 8025": f"api_port = {8000 + number}",
        "metrics_port = 8026": f"metrics_port = {8100 + number}",
        **others,
    }
    text = topology.DEFAULT_FILE.read_text()
    for ours, theirs in replaced.items():
        if ours not in text:
            raise LabError(f"{topology.DEFAULT_FILE} has no {ours!r} any more")
        text = text.replace(ours, theirs)
    return text


def environment(described: Path, state: Path, home: Path, dot: Path) -> dict[str, str]:
    """Return what the Vagrantfile and Vagrant have to be told of such a fleet.

    :param described: its description.
    :param state: where Mailfleet keeps its files; ``home`` and ``dot`` are Vagrant's own.
    """
    return {
        "FLEET_TOPOLOGY": str(described),
        "FLEET_STATE": str(state),
        "VAGRANT_HOME": str(home),
        "VAGRANT_DOTFILE_PATH": str(dot),
        "VAGRANT_CHECKPOINT_DISABLE": "1",
    }


def _reverse(network: str, labels: int) -> str:
    """The reverse zone of a network, of so many labels."""
    parts = ipaddress.ip_address(network).reverse_pointer.split(".")
    return ".".join(parts[-labels - 2 :])
