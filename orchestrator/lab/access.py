"""A hand on a running lab, for tests, demonstrations and the command line."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.lab import containers, engine, nameserver, network, topology
from orchestrator.lab.errors import LabError
from orchestrator.lab.state import State
from orchestrator.lab.topology import Topology
from orchestrator.lab.up import INFO


@dataclass(frozen=True)
class Lab:
    """The lab of one state directory, on the engine that runs it."""

    client: Any
    state: State
    topology: Topology

    @classmethod
    def open(cls, state_dir: Path, described: Topology | None = None) -> "Lab":
        """Return the lab of a state directory.

        :raises LabError: when no engine runs or the lab was never brought up there.
        """
        state = State.at(state_dir)
        if not state.path(INFO).exists():
            raise LabError(f"there is no lab in {state.dir}: run `lab up`")
        return cls(engine.connect(), state, described or topology.load())

    def container(self, name: str) -> Any:
        """Return the Docker container of a machine: ``mx1``, ``ns1``, ``world`` …

        :raises LabError: when there is none.
        """
        import docker

        full = containers.container_name(self.topology.network.name, name)
        try:
            container = self.client.containers.get(full)
        except docker.errors.NotFound:
            container = None
        if container is None or container.labels.get(network.LABEL) != str(self.state.dir):
            raise LabError(f"the lab has no machine {name}: {', '.join(self.names())}")
        return container

    def names(self) -> list[str]:
        """Return the names of the machines that the topology describes."""
        described = self.topology
        return [
            described.ns.name,
            *(host.name for host in described.hosts),
            described.world.name,
        ]

    def run(self, name: str, command: Sequence[str]) -> tuple[int, str]:
        """Run a command as root in a machine and return its exit code and output."""
        return containers.run(self.container(name), command)

    def add_zone(self, name: str, *, managed: bool) -> None:
        """Serve a new zone, as when a tenant delegates a domain; see ``nameserver.add_zone``."""
        with self.state.lock(wait=True):
            server = self.container(self.topology.ns.name)
            nameserver.add_zone(server, self.topology, self.state, name, managed=managed)

    def remove_zone(self, name: str, *, lame: bool = False) -> None:
        """Stop serving an added zone; see ``nameserver.remove_zone``."""
        with self.state.lock(wait=True):
            server = self.container(self.topology.ns.name)
            nameserver.remove_zone(server, self.topology, self.state, name, lame=lame)

    def status(self) -> list[dict[str, str]]:
        """Return name, container status, systemd's word and address of every machine."""
        rows = []
        for name in self.names():
            try:
                container = self.container(name)
            except LabError:
                rows.append({"name": name, "container": "missing", "systemd": "", "address": ""})
                continue
            _, word = containers.run(container, ["systemctl", "is-system-running"])
            attached = container.attrs["NetworkSettings"]["Networks"]
            net = attached.get(self.topology.network.name) or {}
            rows.append(
                {
                    "name": name,
                    "container": container.status,
                    "systemd": word.strip() if container.status == "running" else "",
                    "address": net.get("IPAddress", ""),
                }
            )
        return rows
