"""Slow machines: the topology's ``patience`` lengthens every wait for them."""

from pathlib import Path

from orchestrator.lab import control_plane, topology, vagrant
from orchestrator.lab.state import State


def patient(directory: Path, factor: float) -> topology.Topology:
    file = directory / "fleet.toml"
    file.write_text(f"patience = {factor}\n{topology.DEFAULT_FILE.read_text()}")
    return topology.load(file)


def test_vagrant_is_told_to_wait_longer(tmp_path: Path) -> None:
    state = State.at(tmp_path)
    usual = vagrant.describe(topology.load(), state)["boot_timeout"]
    assert vagrant.describe(patient(tmp_path, 6), state)["boot_timeout"] == 6 * usual


def test_mailfleet_waits_longer_for_slow_hosts_and_as_ever_for_others(tmp_path: Path) -> None:
    for name, factor in (("usual", 1.0), ("slow", 6.0)):
        options = control_plane.configure(State.open(tmp_path / name), patient(tmp_path, factor))
        assert options.ssh_command_timeout == factor * 30
        assert options.apply_timeout == factor * 600
