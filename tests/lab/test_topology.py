from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest

from orchestrator.lab import topology
from orchestrator.lab.errors import LabError


@pytest.fixture
def values() -> dict[str, Any]:
    return tomllib.loads(topology.DEFAULT_FILE.read_text())


def test_the_projects_own_file_is_valid() -> None:
    loaded = topology.load()
    assert {host.os for host in loaded.hosts} == {"debian12", "debian13"}
    assert all(len(host.dedicated) == 3 for host in loaded.hosts)
    assert loaded.hostname(loaded.hosts[0]) == "mx1.fleetlab.net"
    assert loaded.prefixed(loaded.hosts[0].dedicated[0]) == "198.51.100.21/24"
    assert loaded.prefixed(loaded.hosts[0].dedicated[2]) == "2001:db8:51::21/64"


def change(values: dict[str, Any], path: str, value: object) -> dict[str, Any]:
    *parents, last = path.split(".")
    at: Any = values
    for part in parents:
        at = at[int(part)] if part.isdigit() else at[part]
    at[last] = value
    return values


@pytest.mark.parametrize(
    ("path", "value", "complaint"),
    [
        ("hosts.0.address", "10.0.0.1", "outside the network"),
        ("hosts.0.dedicated_ips", ["2001:db8:99::1"], "outside the network"),
        ("hosts.0.dedicated_ips", ["198.51.100.12"], "already"),
        ("hosts.0.dedicated_ips", ["nonsense"], "nonsense"),
        ("hosts.1.name", "mx1", "two machines"),
        ("hosts.0.os", "windows", "use debian12 or debian13"),
        ("world.address", "198.51.100.300", "198.51.100.300"),
        ("network.ipv4", "198.51.100.1/24", "host bits"),
        ("dns.foreign", ["acme-mail.net"], "both managed and foreign"),
        ("dns.managed", "acme-mail.net", "array"),
    ],
)
def test_errors_name_the_culprit(
    values: dict[str, Any], tmp_path: Path, path: str, value: object, complaint: str
) -> None:
    with pytest.raises(ValueError, match=complaint):
        topology.parse(change(values, path, value))


def test_a_missing_section_is_named(values: dict[str, Any]) -> None:
    del values["world"]
    with pytest.raises(ValueError, match="world"):
        topology.parse(values)


def test_unreadable_files_are_reported(tmp_path: Path) -> None:
    with pytest.raises(LabError, match="No such file"):
        topology.load(tmp_path / "none.toml")
    broken = tmp_path / "broken.toml"
    broken.write_text("[network\n")
    with pytest.raises(LabError, match="not valid TOML"):
        topology.load(broken)
    broken.write_text("")
    with pytest.raises(LabError, match="missing required field"):
        topology.load(broken)
