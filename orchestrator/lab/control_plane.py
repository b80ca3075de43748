"""Mailfleet itself on the lab: its settings, and the API and the reconciler as processes."""

import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import msgspec

from orchestrator import db, secrets, settings
from orchestrator.lab.errors import LabError
from orchestrator.lab.state import State
from orchestrator.lab.topology import Topology
from orchestrator.settings import Settings

PROCESSES = {
    "api": ["-m", "orchestrator.cli", "serve"],
    "reconciler": ["-m", "orchestrator.cli", "reconcile", "run"],
}
OPERATOR_TOKEN_FILE = "operator.token"  # noqa: S105 - a file name
STOP_SECONDS = 20.0
#: What Mailfleet waits for on machines, and has to wait longer for on slow ones.
WAITS = ("ssh_connect_timeout", "ssh_command_timeout", "apply_timeout", "egress_timeout")


def configure(state: State, topology: Topology) -> Settings:
    """Write the lab's ``mailfleet.toml``, make the master key, and migrate the database."""
    network = topology.network
    usual = {field.name: field.default for field in msgspec.structs.fields(Settings)}
    state.password(OPERATOR_TOKEN_FILE)
    state.write(
        "mailfleet.toml",
        "\n".join(
            [
                "# Written by `mailfleet lab up`.",
                f'database_url = "sqlite:///{state.path("mailfleet.db")}"',
                'master_key_file = "master.key"',
                'ssh_key_file = "id_ed25519"',
                'known_hosts_file = "known_hosts"',
                'ca_file = "ca.pem"',
                'ca_key_file = "ca.key"',
                f'operator_token_file = "{OPERATOR_TOKEN_FILE}"',
                f"api_port = {topology.control_plane.api_port}",
                f'resolvers = ["{topology.dns.resolver}"]',
                f'fleet_domain = "{topology.fleet.domain}"',
                f'probe_domain = "{topology.fleet.probe_domain}"',
                f'probe_listen = ["{network.control_plane}", "{network.control_plane6}"]',
                "allow_private_targets = true",
                "# The lab's own clock is faster than the world's.",
                "probe_interval = 15.0",
                "dns_interval = 3.0",
                "lease_seconds = 30.0",
                "record_ttl = 3",
                "dkim_retire_seconds = 15.0",
                "overlap_seconds = 5.0",
                f'dnsbl_zones = ["{topology.dns.blocklist}"]',
                "reputation_interval = 10.0",
                "quarantine_seconds = 5.0",
                *(f"{name} = {topology.seconds(usual[name])}" for name in WAITS),
                f'metrics_listen = "127.0.0.1:{topology.control_plane.metrics_port}"',
                "",
            ]
        ),
    )
    loaded = settings.load(state.path("mailfleet.toml"), {})
    secrets.create_master_key(loaded.master_key_file)
    db.upgrade(loaded.database_url)
    return loaded


def start(state: State, options: Settings) -> None:
    """Start the API and the reconciler anew, and wait until the API answers.

    :raises LabError: when one of them ends or doesn't answer, with the end of its log.
    """
    stop(state)
    state.path("log").mkdir(exist_ok=True)
    environment = {**os.environ, "MAILFLEET_CONFIG": str(state.path("mailfleet.toml"))}
    for name, arguments in PROCESSES.items():
        with state.path(f"log/{name}.log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environment,
                cwd=state.dir,
                start_new_session=True,
            )
        state.write(f"{name}.pid", f"{process.pid}\n")
    deadline = time.monotonic() + 30
    while not _answers(f"http://{options.api_host}:{options.api_port}/healthz"):
        check(state)
        if time.monotonic() > deadline:
            raise LabError(f"the API doesn't answer: {_last_lines(state.path('log/api.log'))}")
        time.sleep(0.1)


def check(state: State) -> None:
    """See that both processes run.

    :raises LabError: with the end of the log of the one that doesn't.
    """
    for name in PROCESSES:
        if _running(state, name) is None:
            raise LabError(f"the {name} ended: {_last_lines(state.path(f'log/{name}.log'))}")


def stop(state: State) -> None:
    """Stop the processes of this checkout, and only those."""
    for name in PROCESSES:
        pid = _running(state, name)
        if pid is not None:
            _end(pid)
        state.path(f"{name}.pid").unlink(missing_ok=True)


def _running(state: State, name: str) -> int | None:
    try:
        pid = int(state.path(f"{name}.pid").read_text())
        command = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        directory = Path(f"/proc/{pid}/cwd").readlink()
    except (OSError, ValueError):
        return None
    # Process numbers are used again: it must be our command, in our directory. A process that is
    # just being started has the directory already, and no command yet.
    ours = command == [b""] or PROCESSES[name][-1].encode() in command
    ours = ours and directory == state.dir
    return pid if ours else None


def _end(pid: int) -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.kill(pid, number)
            deadline = time.monotonic() + STOP_SECONDS
            while time.monotonic() < deadline:
                # A child that ended stays visible until it is waited for.
                if os.waitpid(pid, os.WNOHANG) != (0, 0):
                    return
                time.sleep(0.05)
        except ProcessLookupError:
            return
        except ChildProcessError:
            if _gone(pid):
                return


def _gone(pid: int) -> bool:
    deadline = time.monotonic() + STOP_SECONDS
    while Path(f"/proc/{pid}").exists():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as response:  # noqa: S310 - our own address
            return bool(response.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def _last_lines(path: Path) -> str:
    return path.read_text(errors="replace")[-1500:] if path.exists() else "(no log)"
