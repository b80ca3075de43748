"""A restore drill: the lab comes back on an empty machine, and finds nothing to do."""

import json
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from databases import PostgreSQL
from labkit import ROOT, Operator
from planekit import wait_for_the_end_of_passes

pytestmark = pytest.mark.lab

#: What the lab's own control plane keeps: there is one of each on the machine.
OWN: dict[str, Any] = {"probe_listen": [], "metrics_listen": ""}


@pytest.fixture
def backup(operator: Operator, tmp_path: Path) -> Iterator[Path]:
    """The lab's backup, made while its API and its reconciler run; then they let the hosts be."""
    file = tmp_path / "lab.backup"
    operator.ok("mailfleet", "backup", str(file))
    names = [row["name"] for row in operator.json("mailfleet", "hosts", "list")]
    for name in names:
        operator.ok("mailfleet", "hosts", "pause", name)
    wait_for_the_end_of_passes(str(tomllib.loads(operator.config.read_text())["database_url"]))
    yield file
    for name in names:
        operator.ok("mailfleet", "hosts", "resume", name)
    operator.ok("reconcile", "apply", "--yes")


def empty_machine(directory: Path, operator: Operator, url: str) -> Operator:
    """The lab's settings on a machine that has none of its files."""
    directory.mkdir()
    values = {**tomllib.loads(operator.config.read_text()), **OWN, "database_url": url}
    config = directory / "mailfleet.toml"
    # JSON's strings, numbers, booleans and arrays are TOML's.
    config.write_text("".join(f"{name} = {json.dumps(v)}\n" for name, v in values.items()))
    return Operator(config)


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_a_restored_installation_finds_nothing_to_do(
    operator: Operator, backup: Path, tmp_path: Path, postgresql: PostgreSQL, kind: str
) -> None:
    url = postgresql.empty() if kind == "postgresql" else f"sqlite:///{tmp_path}/new/mailfleet.db"
    restored = empty_machine(tmp_path / "new", operator, url)
    told = restored.json("mailfleet", "restore", str(backup))
    assert told["hosts"] == 2
    lab = json.loads((ROOT / ".lab" / "lab.json").read_text())
    assert lab["keys"]["adbtd"] not in json.dumps(told)
    listed = restored.json("mailfleet", "hosts", "list")
    assert all(row["paused"] for row in listed)
    plans = restored.json("reconcile", "plan")
    assert [(plan["reason"], plan["changes"]) for plan in plans] == [(None, [])] * 2
    restored.ok("mailfleet", "hosts", "resume", "--restored")
    # Nothing to push: exit code 0, and no host's generation is another.
    before = [row["generation"] for row in listed]
    restored.ok("reconcile", "apply", "--yes")
    assert [row["generation"] for row in restored.json("mailfleet", "hosts", "list")] == before
    restored.ok("reconcile", "status", "--all")
