"""The same fleet as machines of Vagrant's: it boots them, Mailfleet does all the rest.

Vagrant's docker provider runs the lab's own images; with the others a public Debian gets the same
packages and the same archive of files (``vagrant/furnish.sh``).
"""

import shutil
import socket
import time
from pathlib import Path
from typing import Any

from orchestrator.lab import (
    containers,
    demonstrate,
    engine,
    images,
    mailhosts,
    nameserver,
    network,
    world,
)
from orchestrator.lab.containers import File, Machine
from orchestrator.lab.demo import Proof
from orchestrator.lab.errors import LabError
from orchestrator.lab.reporter import Reporter
from orchestrator.lab.state import State
from orchestrator.lab.topology import Address, Topology
from orchestrator.lab.up import BOOT_TIMEOUT, INFO, SERVICE_TIMEOUT, info, machines

DOCKER = "docker"
#: Where a container finds its files before its first boot.
ARCHIVE = "/lab.tar"
#: Below the state directory: each machine's files, and the host keys that Vagrant read there.
ARCHIVES = "machines"
HOST_KEYS = "hostkeys"


def describe(topology: Topology, state: State) -> dict[str, Any]:
    """Return what the Vagrantfile has to know; nothing is made or changed."""
    net, hosts = topology.network, {host.name for host in topology.hosts}
    return {
        "network": {
            "name": net.name,
            "netmask": str(net.ipv4.netmask),
            "control_plane": str(net.control_plane),
            "control_plane6": str(net.control_plane6),
            "prefix6": net.ipv6.prefixlen,
        },
        "boot_timeout": topology.seconds(BOOT_TIMEOUT),
        "machines": [
            {
                "name": name,
                "hostname": hostname,
                "address": str(address),
                "archive": str(_archive(state, name)),
                "host_keys": str(state.path(f"{HOST_KEYS}/{name}")) if name in hosts else None,
                "boxes": {kind: boxes[recipe.system] for kind, boxes in topology.vagrant.items()},
                "installed": list(recipe.include),
                "downloaded": list(recipe.cached),
                "docker": _docker(topology, state, name, (address, address6), recipe),
            }
            for name, hostname, address, address6, recipe in _machines(topology)
        ],
    }


def prepare(topology: Topology, state_dir: Path, provider: str, say: Reporter) -> None:
    """Make what the machines start from; harmless when it is there.

    :param provider: Vagrant's name for it; for ``docker`` the images and the network are made too.
    :raises LabError: saying what stands in the way and what to do.
    """
    state = State.open(state_dir)
    with state.lock():
        if provider == DOCKER:
            with say.stage("engine"):
                client = engine.ensure()
            with say.stage("images"):
                images.ensure(client, images.of(topology), state.dir, say.note)
            with say.stage("network"):
                network.ensure(client, topology.network, state.dir)
        state.path(ARCHIVES).mkdir(mode=0o700, exist_ok=True)
        state.path(HOST_KEYS).mkdir(mode=0o700, exist_ok=True)
        for machine in machines(topology, state):
            content = containers.archive(_files(topology, machine, provider))
            state.write(f"{ARCHIVES}/{machine.name}.tar", content)


def converge(topology: Topology, state_dir: Path, say: Reporter) -> list[Proof]:
    """Wait for the machines, then enrol and converge them, and send mail from each host.

    :raises LabError: when one does not come up or does not converge in time.
    """
    state = State.open(state_dir)
    with state.lock():
        with say.stage("boot"):
            for host in topology.hosts:
                deadline = time.monotonic() + topology.seconds(BOOT_TIMEOUT)
                _wait_for_ssh(host.address, deadline)
        patience = topology.seconds(SERVICE_TIMEOUT)
        with say.stage("dns"):
            nameserver.wait_ready(topology, deadline=time.monotonic() + patience)
        with say.stage("world"):
            world.wait_ready(topology, deadline=time.monotonic() + patience)
        lines = [
            mailhosts.known_hosts(topology, host, _host_keys(state, host.name))
            for host in topology.hosts
        ]
        state.write("known_hosts", "".join(lines))
        state.merge_json(INFO, info(topology, state))
    return demonstrate.demonstrate(state.dir, topology, say)


def forget(topology: Topology, state_dir: Path, say: Reporter) -> None:
    """Remove what was made for machines that are gone; harmless again. Nothing of it runs.

    Images stay, as a cache. An engine that we started is stopped when nothing else runs in it.

    :raises LabError: when a machine is still on the network.
    """
    state = State.at(state_dir)
    if not state.dir.is_dir():
        return
    with state.lock():
        with say.stage("network"):
            _remove_network(topology, state)
        shutil.rmtree(state.dir)


def _remove_network(topology: Topology, state: State) -> None:
    try:
        client = engine.connect()
    except LabError:
        return  # Without an engine there is no network of its.
    left = [container.name for container in containers.owned(client, state.dir)]
    if left:
        raise LabError(f"still there: {', '.join(sorted(left))}; destroy them with Vagrant first")
    network.remove(client, topology.network, state.dir)
    busy = bool(client.containers.list())
    client.close()
    if not busy:
        engine.stop()


def _machines(topology: Topology) -> list[tuple[str, str, Address, Address, images.Recipe]]:
    """Name, full name, addresses and recipe of each, in the order in which they start."""
    ns, dns, other = topology.ns, topology.dns, topology.world
    fleet = topology.fleet.domain
    return [
        (ns.name, f"{ns.name}.{fleet}", dns.authoritative, dns.authoritative6, images.NS),
        *(
            (host.name, topology.hostname(host), host.address, host.address6, images.bare(host.os))
            for host in topology.hosts
        ),
        (other.name, world.hostname(topology), other.address, other.address6, images.WORLD),
    ]


def _docker(
    topology: Topology,
    state: State,
    name: str,
    addresses: tuple[Address, Address],
    recipe: images.Recipe,
) -> dict[str, Any]:
    """What Vagrant's docker provider hands to ``docker run``; as ``containers`` does it."""
    unpack = f"[ -e /etc/lab/address ] || tar -C / -xf {ARCHIVE}"
    options = [
        f"--network={topology.network.name}",
        *(f"--ip={addresses[0]}", f"--ip6={addresses[1]}"),
        *(f"--cap-add={capability}" for capability in containers.CAPABILITIES),
        *(f"--security-opt={option}" for option in containers.SECURITY),
        *(f"--tmpfs={path}" for path in containers.TMPFS),
        *("--cgroupns=private", "--env=container=docker"),
        *(f"--stop-signal={containers.STOP_SIGNAL}", f"--label={network.LABEL}={state.dir}"),
        f"--volume={_archive(state, name)}:{ARCHIVE}:ro",
        f"--volume={state.path('resolv.conf')}:/etc/resolv.conf:ro",
    ]
    return {
        "name": containers.container_name(topology.network.name, name),
        "image": recipe.tag,
        "options": options,
        "command": ["/bin/sh", "-c", f"{unpack}; {containers.INIT}"],
    }


def _archive(state: State, name: str) -> Path:
    return state.path(f"{ARCHIVES}/{name}.tar")


def _files(topology: Topology, machine: Machine, provider: str) -> dict[str, File]:
    """The machine's files. What Docker does for a container is a file of a virtual machine."""
    files = containers.all_files(machine)
    if provider == DOCKER:
        return files
    mounted = {path: File(Path(source).read_text()) for path, source in machine.mounts.items()}
    own = f"{topology.prefixed(machine.address6)} first\n"
    addresses = File(own + files["/etc/lab/addresses"].content)
    unit = File(containers.asset("vm-boot.service"))
    return {
        **files,
        **mounted,
        "/etc/lab/addresses": addresses,
        "/etc/systemd/system/lab-boot.service": unit,
    }


def _host_keys(state: State, name: str) -> str:
    try:
        return state.path(f"{HOST_KEYS}/{name}").read_text()
    except FileNotFoundError:
        message = f"nobody has read {name}'s host keys: run `vagrant up` for all machines"
        raise LabError(message) from None


def _wait_for_ssh(address: Address, deadline: float) -> None:
    problem = "no answer"
    while time.monotonic() < deadline:
        try:
            with socket.create_connection((str(address), 22), timeout=5) as connection:
                if connection.recv(4) == b"SSH-":
                    return
        except OSError as error:
            problem = str(error)
        time.sleep(0.2)
    raise LabError(f"{address}:22 does not greet as SSH in time: {problem}")
