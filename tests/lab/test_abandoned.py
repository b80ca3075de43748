"""A lab that ended without being taken down doesn't stand in another one's way."""

from __future__ import annotations

import ipaddress
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator.lab import abandoned, network
from orchestrator.lab.access import Lab
from orchestrator.lab.state import State
from orchestrator.lab.topology import Network

pytestmark = pytest.mark.lab

Make = Callable[[Path], Any]


@pytest.fixture
def wanted() -> Network:
    return Network(
        name=f"abandoned-{uuid.uuid4().hex[:8]}",
        ipv4=ipaddress.IPv4Network("10.213.77.0/24"),
        ipv6=ipaddress.IPv6Network("fd77:213::/64"),
        control_plane=ipaddress.IPv4Address("10.213.77.1"),
        control_plane6=ipaddress.IPv6Address("fd77:213::1"),
    )


@pytest.fixture
def make(running: Lab, wanted: Network) -> Iterator[Make]:
    """Makes a lab's network and one container of it, which is not started."""

    def make(owner: Path) -> Any:
        network.ensure(running.client, wanted, owner)
        mailhost = running.container("mx1").image
        return running.client.containers.create(
            mailhost,
            ["/bin/sleep", "60"],
            network=wanted.name,
            labels={network.LABEL: str(owner)},
            stop_signal="SIGKILL",
        )

    yield make
    for container in running.client.containers.list(
        all=True, filters={"network": wanted.name}, ignore_removed=True
    ):
        container.remove(force=True)
    left = network.find(running.client, wanted)
    if left is not None:
        left.remove()


def test_a_lab_whose_checkout_is_gone_is_cleared(
    running: Lab, wanted: Network, make: Make, tmp_path: Path
) -> None:
    make(tmp_path / "gone")
    cleared = abandoned.clear(running.client, wanted, tmp_path / "mine")
    assert cleared == tmp_path / "gone"
    assert network.find(running.client, wanted) is None
    assert network.ensure(running.client, wanted, tmp_path / "mine").name == wanted.name


def test_a_lab_that_does_not_run_any_more_is_cleared_and_its_files_are_left(
    running: Lab, wanted: Network, make: Make, tmp_path: Path
) -> None:
    other = State.open(tmp_path / "other")
    other.write("master.key", "kept")
    make(other.dir)
    assert abandoned.clear(running.client, wanted, tmp_path / "mine") == other.dir
    assert network.find(running.client, wanted) is None
    assert other.path("master.key").read_text() == "kept"


def test_a_lab_that_runs_is_left_alone(
    running: Lab, wanted: Network, make: Make, tmp_path: Path
) -> None:
    make(tmp_path / "gone").start()
    assert abandoned.clear(running.client, wanted, tmp_path / "mine") is None
    assert network.find(running.client, wanted) is not None


def test_a_lab_that_is_being_started_is_left_alone(
    running: Lab, wanted: Network, make: Make, tmp_path: Path
) -> None:
    other = State.open(tmp_path / "other")
    make(other.dir)
    with other.lock():
        assert abandoned.clear(running.client, wanted, tmp_path / "mine") is None
    assert network.find(running.client, wanted) is not None


def test_ones_own_lab_and_none_are_left_alone(
    running: Lab, wanted: Network, make: Make, tmp_path: Path
) -> None:
    assert abandoned.clear(running.client, wanted, tmp_path / "mine") is None
    make(tmp_path / "mine")
    assert abandoned.clear(running.client, wanted, tmp_path / "mine") is None
    assert network.find(running.client, wanted) is not None
