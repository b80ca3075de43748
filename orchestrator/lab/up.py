"""Brings the lab up: from nothing, from half way, or from up already."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.lab import (
    abandoned,
    containers,
    engine,
    images,
    mailhosts,
    nameserver,
    network,
    pki,
    world,
)
from orchestrator.lab.containers import Machine
from orchestrator.lab.reporter import Reporter
from orchestrator.lab.state import State
from orchestrator.lab.topology import Topology

BOOT_TIMEOUT = 120.0
SERVICE_TIMEOUT = 60.0
INFO = "lab.json"


@dataclass(frozen=True)
class LabInfo:
    """A lab that is up: its state directory, and what ``lab.json`` holds."""

    state_dir: Path
    data: dict[str, Any]


def up(state_dir: Path, topology: Topology, reporter: Reporter | None = None) -> LabInfo:
    """Make the lab exist and run. Harmless when it does; repairs what was interrupted.

    :param state_dir: where keys, secrets and ``lab.json`` are kept, made if need be.
    :raises LabError: saying what stands in the way and what to do.
    """
    say = reporter or Reporter()
    engine.sdk()
    state = State.open(state_dir)
    with state.lock():
        with say.stage("engine"):
            client = engine.ensure()
        with say.stage("images"):
            images.ensure(client, images.of(topology), state.dir, say.note)
        with say.stage("network"):
            ended = abandoned.clear(client, topology.network, state.dir)
            if ended is not None:
                say.note(f"the lab of {ended} ended without being taken down: removed")
            net = network.ensure(client, topology.network, state.dir)
        with say.stage("boot"):
            _boot(client, machines(topology, state), net, state, say.note)
        with say.stage("dns"):
            container = _get(client, topology, topology.ns.name)
            nameserver.sync(container, topology, state)
            nameserver.wait_ready(topology, deadline=time.monotonic() + SERVICE_TIMEOUT)
        with say.stage("world"):
            world.wait_ready(topology, deadline=time.monotonic() + SERVICE_TIMEOUT)
        _known_hosts(client, topology, state)
        data = state.merge_json(INFO, info(topology, state))
    return LabInfo(state.dir, data)


def machines(topology: Topology, state: State) -> list[Machine]:
    """Return the description of every machine; keys and secrets are made at first use."""
    resolv = f"nameserver {topology.dns.resolver}\noptions timeout:2 attempts:2\n"
    if not state.path("resolv.conf").exists() or state.path("resolv.conf").read_text() != resolv:
        # Readable by every user of the containers, which have it mounted.
        state.write("resolv.conf", resolv, mode=0o644)
    pki.ensure_ca(state)
    public = pki.ensure_ssh_key(state)
    dkim = pki.dkim_public(world.dkim_private(state))
    # The name server first: the others ask it as soon as they run.
    return [
        nameserver.machine(topology, state, images.NS.tag, dkim),
        *(
            mailhosts.machine(topology, state, host, images.bare(host.os).tag, public)
            for host in topology.hosts
        ),
        world.machine(topology, state, images.WORLD.tag),
    ]


def info(topology: Topology, state: State) -> dict[str, Any]:
    """Return what this package writes to ``lab.json``; others add their own keys."""
    dns, net = topology.dns, topology.network
    return {
        "ca": state.relative("ca.pem"),
        "ca_key": state.relative("ca.key"),
        "ssh_key": state.relative("id_ed25519"),
        "known_hosts": state.relative("known_hosts"),
        "resolver": str(dns.resolver),
        "control_plane": str(net.control_plane),
        "control_plane6": str(net.control_plane6),
        "dns": {
            "authoritative": str(dns.authoritative),
            "tsig_name": dns.tsig_name,
            "tsig_algorithm": dns.tsig_algorithm,
            "tsig_secret_file": state.relative(nameserver.TSIG_FILE),
            "customer_tsig_name": dns.customer_tsig_name,
            "customer_tsig_secret_file": state.relative(nameserver.CUSTOMER_TSIG_FILE),
            "managed": list(dns.managed),
            "foreign": list(dns.foreign),
            "blocklist": dns.blocklist,
        },
        "hosts": [
            {
                "name": host.name,
                "hostname": topology.hostname(host),
                "os": host.os,
                "address": str(host.address),
                "address6": str(host.address6),
                "dedicated_ips": list(host.dedicated_ips),
                "container": containers.container_name(net.name, host.name),
            }
            for host in topology.hosts
        ],
        "world": {
            "address": str(topology.world.address),
            "address6": str(topology.world.address6),
            "hostname": world.hostname(topology),
            "domain": topology.world.domain,
            "mailbox": topology.world.mailbox,
            "password": state.password(world.PASSWORD_FILE),
            "http": f"http://{topology.world.address}:{world.HTTP_PORT}",
            "container": containers.container_name(net.name, topology.world.name),
        },
    }


def _boot(
    client: Any, machines: list[Machine], net: Any, state: State, note: Callable[[str], None]
) -> None:
    wanted = {containers.container_name(net.name, machine.name) for machine in machines}
    for container in containers.owned(client, state.dir):
        if container.name not in wanted:
            note(f"removing {container.name}, which is no longer described")
            container.remove(force=True, v=True)

    def start(machine: Machine) -> None:
        made = containers.ensure(client, machine, net, state.dir)
        if made:
            note(f"{machine.name} was made from {machine.image}")
        container = client.containers.get(containers.container_name(net.name, machine.name))
        containers.wait_booted(container, deadline=time.monotonic() + BOOT_TIMEOUT)

    with ThreadPoolExecutor(max_workers=len(machines)) as pool:
        list(pool.map(start, machines))


def _known_hosts(client: Any, topology: Topology, state: State) -> None:
    lines = [
        mailhosts.known_hosts(
            topology, host, mailhosts.host_keys(_get(client, topology, host.name))
        )
        for host in topology.hosts
    ]
    state.write("known_hosts", "".join(lines))


def _get(client: Any, topology: Topology, name: str) -> Any:
    return client.containers.get(containers.container_name(topology.network.name, name))
