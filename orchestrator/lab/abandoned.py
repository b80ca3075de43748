"""Clears away a lab of another checkout that ended without being taken down.

The machine was restarted, or its processes were killed: the engine still knows the network and
the containers, and they would stand in the way of every other lab of that name.
"""

from pathlib import Path
from typing import Any

from orchestrator.lab import containers, network
from orchestrator.lab.errors import LabError
from orchestrator.lab.state import State
from orchestrator.lab.topology import Network


def clear(client: Any, wanted: Network, state_dir: Path) -> Path | None:
    """Remove the other lab that has this network, unless it runs or is being started.

    :return: the state directory that it belonged to, which is left as it is.
    """
    owner = network.owner(client, wanted)
    if owner is None or owner == state_dir:
        return None
    if not owner.is_dir():
        return _remove(client, wanted, owner)
    try:
        with State.at(owner).lock():
            return _remove(client, wanted, owner)
    except LabError:
        return None


def _remove(client: Any, wanted: Network, owner: Path) -> Path | None:
    left = list(containers.owned(client, owner))
    if any(container.status in ("running", "paused") for container in left):
        return None
    for container in left:
        container.remove(force=True, v=True)
    network.remove(client, wanted, owner)
    return owner
