"""Vagrant's docker provider boots the lab's fleet, and Mailfleet converges it.

The fleet stands beside the lab: the same description on another network and other ports.
"""

import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from labkit import BIN, ROOT

from orchestrator.lab import beside, containers, engine, network, topology

pytestmark = [pytest.mark.lab, pytest.mark.own_fleet]

#: Of its networks.
NUMBER = 54


@dataclass(frozen=True)
class Vagrant:
    """The command, on a fleet whose files are all in one directory."""

    directory: Path
    provider: str

    @property
    def state(self) -> Path:
        return self.directory / "fleet"

    @property
    def topology_file(self) -> Path:
        return self.directory / "fleet.toml"

    def run(self, *argv: str) -> subprocess.CompletedProcess[str]:
        environment = {
            **os.environ,
            **beside.environment(
                self.topology_file, self.state, self.directory / "home", self.directory / "dot"
            ),
            "VAGRANT_DEFAULT_PROVIDER": self.provider,
        }
        return subprocess.run(
            [*argv],
            cwd=ROOT / "vagrant",
            env=environment,
            capture_output=True,
            text=True,
            timeout=280,
            check=False,
        )

    def ok(self, *argv: str) -> str:
        done = self.run(*argv)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


def made(directory: Path, provider: str = "docker") -> Vagrant:
    fleet = Vagrant(directory, provider)
    fleet.topology_file.write_text(beside.description("mailfleet-vagrant", NUMBER, {}))
    return fleet


@pytest.fixture(scope="module")
def vagrant(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Vagrant]:
    fleet = made(tmp_path_factory.mktemp("vagrant"))
    yield fleet
    if fleet.state.exists():
        fleet.ok("vagrant", "destroy", "--force")


@pytest.mark.parametrize("provider", ["docker", "libvirt"])
def test_the_vagrantfile_is_valid_and_makes_nothing(tmp_path: Path, provider: str) -> None:
    fleet = made(tmp_path, provider)
    assert "validated successfully" in fleet.ok("vagrant", "validate")
    assert not fleet.state.exists()


def test_up_ends_with_mail_that_others_believe(vagrant: Vagrant) -> None:
    told = vagrant.ok("vagrant", "up")
    for host, sender, address in (
        ("mx1", "alice@acme-mail.net", "198.18.54.21"),
        ("mx2", "bob@acme-mail.net", "198.18.54.31"),
    ):
        row = next(line for line in told.splitlines() if f"{host}   {sender}" in line)
        assert "spf=pass dkim=pass dmarc=pass" in row
        assert address in row


def test_up_again_changes_nothing(vagrant: Vagrant) -> None:
    client = engine.connect()
    before = {one.id: one.attrs["State"]["StartedAt"] for one in _containers(client, vagrant)}
    assert len(before) == 4
    assert "spf=pass dkim=pass dmarc=pass" in vagrant.ok("vagrant", "up")
    after = {one.id: one.attrs["State"]["StartedAt"] for one in _containers(client, vagrant)}
    assert after == before
    client.close()


def test_its_hosts_are_operated_like_any_others(vagrant: Vagrant) -> None:
    config = ("--config", str(vagrant.state / "mailfleet.toml"))
    done = vagrant.run(str(BIN / "reconcile"), *config, "plan", "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    inventory = ROOT / "inventory" / "vagrant.py"
    told = vagrant.run(str(BIN / "pyinfra"), str(inventory), "exec", "--", "hostname", "-f")
    assert told.returncode == 0, told.stdout + told.stderr
    for name in ("mx1", "mx2"):
        assert f"{name}.fleetlab.net" in told.stdout + told.stderr


def test_destroy_leaves_nothing(vagrant: Vagrant) -> None:
    client = engine.connect()
    described = topology.load(vagrant.topology_file)
    pids = [int((vagrant.state / f"{name}.pid").read_text()) for name in ("api", "reconciler")]
    vagrant.ok("vagrant", "destroy", "--force")
    assert not vagrant.state.exists()
    assert not _containers(client, vagrant)
    assert network.find(client, described.network) is None
    assert not any(Path(f"/proc/{pid}/cmdline").exists() for pid in pids)
    client.close()


def _containers(client: Any, fleet: Vagrant) -> list[Any]:
    return list(containers.owned(client, fleet.state))
