"""The lab's internal network: dual-stack, no way out, on a range that nothing else uses."""

import hashlib
import ipaddress
import json
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from orchestrator.lab.errors import LabError
from orchestrator.lab.topology import Network

#: Says which checkout (its state directory) a container or network belongs to.
LABEL = "mailfleet.lab"

Range = ipaddress.IPv4Network | ipaddress.IPv6Network


def overlapping(ranges: Iterable[Range], routes: Iterable[dict[str, Any]]) -> list[str]:
    """Return a description of each route that overlaps one of the ranges.

    :param routes: as ``ip -json route`` prints them; default routes overlap nothing.
    """
    wanted = list(ranges)
    found = []
    for route in routes:
        try:
            destination = ipaddress.ip_network(route.get("dst", "default"), strict=False)
        except ValueError:
            continue  # "default", and kinds such as "unreachable"
        for net in wanted:
            if net.version == destination.version and net.overlaps(destination):
                via = route.get("dev") or route.get("gateway") or "an unnamed device"
                found.append(f"{destination} on {via}")
                break
    return found


def bridge(network: Network) -> str:
    """Return the name of the network's bridge, so that a left-over one is recognised.

    The kernel allows 15 characters, and two labs may run side by side under different names.
    """
    return "mf-" + hashlib.sha256(network.name.encode()).hexdigest()[:10]


def find(client: Any, network: Network) -> Any | None:
    """Return the Docker network of this name, or None."""
    found = client.networks.list(names=[network.name])
    return next((net for net in found if net.name == network.name), None)


def ensure(client: Any, network: Network, state_dir: Path) -> Any:
    """Return the lab's network, made if it does not exist.

    :raises LabError: when it belongs to another checkout, when it has other ranges, or when a
        route of this machine overlaps its ranges.
    """
    existing = find(client, network)
    if existing is not None:
        _check_ours(existing, network, state_dir)
        return existing
    clashes = overlapping((network.ipv4, network.ipv6), _routes())
    if clashes:
        ours = any(clash.endswith(f" on {bridge(network)}") for clash in clashes)
        left_over = f" (a left-over bridge goes with: ip link delete {bridge(network)})"
        raise LabError(
            f"the lab's network {network.ipv4}, {network.ipv6} overlaps a route of this machine: "
            f"{'; '.join(clashes)}. Remove that route, or choose another range in "
            f"inventory/lab.toml{left_over if ours else ''}"
        )
    return _create(client, network, state_dir)


def owner(client: Any, network: Network) -> Path | None:
    """Return the state directory of the lab that has the network, or None where no lab has."""
    existing = find(client, network)
    label = "" if existing is None else _label(existing)
    return Path(label) if label else None


def remove(client: Any, network: Network, state_dir: Path) -> None:
    """Remove the network if it exists and is this checkout's; its containers must be gone."""
    existing = find(client, network)
    if existing is not None and _label(existing) == str(state_dir):
        existing.remove()


def _create(client: Any, network: Network, state_dir: Path) -> Any:
    from docker.types import IPAMConfig, IPAMPool

    pools = [
        IPAMPool(subnet=str(network.ipv4), gateway=str(network.control_plane)),
        IPAMPool(subnet=str(network.ipv6), gateway=str(network.control_plane6)),
    ]
    return client.networks.create(
        network.name,
        driver="bridge",
        internal=True,
        enable_ipv6=True,
        ipam=IPAMConfig(pool_configs=pools),
        labels={LABEL: str(state_dir)},
        options={"com.docker.network.bridge.name": bridge(network)},
        check_duplicate=True,
    )


def _check_ours(existing: Any, network: Network, state_dir: Path) -> None:
    label = _label(existing)
    if label != str(state_dir):
        whose = f"the lab of {label}" if label else "somebody else"
        raise LabError(
            f"the Docker network {network.name} belongs to {whose}: run `lab down` there first, "
            "or give this lab another name and range in inventory/lab.toml"
        )
    ranges = {pool.get("Subnet") for pool in existing.attrs["IPAM"]["Config"] or []}
    if ranges != {str(network.ipv4), str(network.ipv6)}:
        raise LabError(
            f"the running lab has other ranges ({', '.join(sorted(map(str, ranges)))}) than "
            "inventory/lab.toml: run `lab down`, then `lab up`"
        )


def _label(existing: Any) -> str:
    return str((existing.attrs.get("Labels") or {}).get(LABEL, ""))


def _routes() -> list[dict[str, Any]]:
    routes: list[dict[str, Any]] = []
    for family in ("-4", "-6"):
        command = ["ip", "-json", family, "route", "show"]
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=True)
        except FileNotFoundError:
            raise LabError("`ip` is not installed: apt-get install iproute2") from None
        except subprocess.CalledProcessError as error:
            raise LabError(f"{' '.join(command)} failed: {error.stderr.strip()}") from None
        routes += json.loads(done.stdout or "[]")
    return routes
