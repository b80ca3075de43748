"""Other tools that hold the same host in the same state: Ansible, with mitogen, and pyinfra."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.fleet import HostState
from orchestrator.hosts import known_hosts
from orchestrator.models import Host

HERE = Path(__file__).resolve().parent
#: Their virtual environment; `make bench` makes it.
VENV = Path(sys.prefix) / "rivals"
DEBS = VENV / "debs"
SUITES = {"debian12": "bookworm", "debian13": "trixie"}


@dataclass(frozen=True)
class Rivals:
    """The tools, ready to be run against one host that is already as they want it."""

    environment: dict[str, str]
    address: str
    key: Path
    known_hosts: Path
    state: Path

    def works(self) -> dict[str, Callable[[], object]]:
        """By name: each is one whole run, which must find nothing to change."""
        return {
            "pyinfra deploy": self.pyinfra,
            "Ansible, pipelining": lambda: self.ansible({}),
            "Ansible, mitogen": lambda: self.ansible(_mitogen()),
        }

    def pyinfra(self) -> None:
        """A plain pyinfra deploy.

        :raises SystemExit: when it fails or would change something.
        """
        program = Path(sys.prefix) / "bin/pyinfra"
        output = self._run([program, "-y", HERE / "inventory.py", HERE / "deploy.py"], {})
        # Operations, those that changed something, errors, and those that did not.
        total = re.search(r"Grand total\s+(\S+)\s+(\S+)\s+(\S+)\s+(\S+)", output)
        if total is None or total.group(2, 3) != ("-", "-"):
            raise SystemExit(f"pyinfra does not find the host as wanted:\n{output[-3000:]}")

    def ansible(self, extra: dict[str, str]) -> None:
        """An Ansible playbook.

        :raises SystemExit: when it fails or changes something.
        """
        options = f"-o UserKnownHostsFile={self.known_hosts} -o StrictHostKeyChecking=yes"
        output = self._run(
            [
                *(VENV / "bin/ansible-playbook", "-i", f"{self.address},", "-u", "root"),
                *("--private-key", self.key, f"--ssh-common-args={options}"),
                *("-e", f"@{self.state}", HERE / "playbook.yml"),
            ],
            {
                "ANSIBLE_PIPELINING": "1",
                "ANSIBLE_PYTHON_INTERPRETER": "/usr/bin/python3",
                **extra,
            },
        )
        if not re.search(r"changed=0 +unreachable=0 +failed=0", output):
            raise SystemExit(f"Ansible does not find the host as wanted:\n{output[-3000:]}")

    def _run(self, command: Sequence[str | Path], extra: dict[str, str]) -> str:
        done = subprocess.run(
            [str(part) for part in command],
            env={**self.environment, **extra},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=600,
        )
        if done.returncode != 0:
            raise SystemExit(f"{command[0]} failed:\n{done.stdout[-3000:]}")
        return done.stdout


def prepare(directory: Path, host: Host, state: HostState, key: Path) -> Rivals:
    """Write down the host's state where the tools read it.

    :raises SystemExit: when they are not installed.
    """
    if not (VENV / "bin/ansible-playbook").exists():
        raise SystemExit("Ansible is not installed: run `make bench`")
    directory.mkdir(mode=0o700)
    keys = directory / "known_hosts"
    known_hosts.write(keys, [(host.address, host.ssh_port, host.host_key)])
    described = {
        **_state(directory, state),
        "ssh": {"address": host.address, "key": str(key), "known_hosts": str(keys)},
    }
    path = directory / "state.json"
    path.write_text(json.dumps(described))
    environment = {**os.environ, "BENCH_STATE": str(path), "HOME": str(directory)}
    return Rivals(environment, host.address, key, keys, path)


def _state(directory: Path, state: HostState) -> dict[str, Any]:
    required = state.wanted.required
    files = []
    for number, file in enumerate(state.wanted.files):
        source = directory / f"file{number}"
        source.write_text(file.content)
        described = {"source": str(source), "path": file.path, "mode": f"{file.mode:04o}"}
        files.append({**described, "owner": file.owner, "group": file.group})
    return {
        "packages": list(required.packages),
        "users": [
            {"name": name, "number": number, "group": group, "home": home}
            for name, number, group, home in required.users
        ],
        "memberships": [{"name": user, "group": group} for user, group in required.memberships],
        "directories": [
            {"path": path, "owner": owner, "group": group, "mode": mode}
            for path, owner, group, mode in required.directories
        ],
        "files": files,
        "services": list(required.units.values()),
    }


def _mitogen() -> dict[str, str]:
    found = next((VENV / "lib").glob("python3*/site-packages/ansible_mitogen"))
    return {
        "ANSIBLE_STRATEGY": "mitogen_linear",
        "ANSIBLE_STRATEGY_PLUGINS": str(found / "plugins/strategy"),
    }
