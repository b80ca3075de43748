"""The bare mail hosts: they boot, root logs in with the lab's key, and that is all."""

from typing import Any

from orchestrator.lab import containers
from orchestrator.lab.containers import File, Machine
from orchestrator.lab.state import State
from orchestrator.lab.topology import Host, Topology

_SSHD = """\
PermitRootLogin prohibit-password
PasswordAuthentication no
KbdInteractiveAuthentication no
"""

READ_HOST_KEYS = "cat /etc/ssh/ssh_host_*_key.pub"


def machine(topology: Topology, state: State, host: Host, image: str, public_key: str) -> Machine:
    """Return the description of a mail host's container.

    :param public_key: the line that goes to root's ``authorized_keys``.
    """
    return Machine(
        name=host.name,
        image=image,
        hostname=topology.hostname(host),
        address=host.address,
        address6=host.address6,
        extra=tuple(topology.prefixed(address) for address in host.dedicated),
        mounts={"/etc/resolv.conf": str(state.path("resolv.conf"))},
        files={
            "/root/.ssh/authorized_keys": File(public_key, 0o600),
            "/etc/ssh/sshd_config.d/lab.conf": File(_SSHD),
        },
    )


def host_keys(container: Any) -> str:
    """Return a running host's public SSH keys, one a line, read from inside it.

    :raises LabError: when it has none.
    """
    return containers.check(container, ["sh", "-c", READ_HOST_KEYS])


def known_hosts(topology: Topology, host: Host, keys: str) -> str:
    """Return the lines of ``known_hosts`` for a host with these public keys."""
    names = f"{host.address},{host.address6},{topology.hostname(host)}"
    lines = [f"{names} {' '.join(key.split()[:2])}\n" for key in keys.splitlines() if key.strip()]
    return "".join(lines)
