"""Both hosts of the lab under a reconciler of the tests' own, and the witness."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

from chaos.findings import Notes
from labkit import MAILBOXES, ROOT, Machine, wait_for
from sqlalchemy import Engine
from sqlmodel import select

from orchestrator import db, passes, settings
from orchestrator.control import ControlPlane
from orchestrator.lab import control_plane
from orchestrator.lab.state import State
from orchestrator.models import Host, Mailbox
from orchestrator.results import Result
from orchestrator.secrets import Vault

#: Short patience, so that a test needs little; no receiver, because the witness is there.
IMPATIENT = {
    "ssh_connect_timeout": "3.0",
    "ssh_command_timeout": "10.0",
    "apply_timeout": "60.0",
    "lease_seconds": "1.5",
    "dns_timeout": "1.0",
    "probe_listen": "[]",
}


@dataclass
class Arena:
    """``hosts`` are the ids by name; ``config`` is for reconcilers in other processes."""

    config: Path
    control: ControlPlane
    notes: Notes
    hosts: dict[str, UUID]

    def settle(self, name: str) -> Result:
        """One pass, after any other has ended or its lease has run out."""
        return passes.settle(self.control, self.hosts[name])

    def orderly(self, name: str) -> None:
        """One pass that must find everything in order."""
        result = self.control.reconciler.reconcile(self.hosts[name])
        assert result.reason is None, result

    def change_host(self, name: str, **values: Any) -> None:
        """Change a host's row."""
        with db.writing(self.control.engine) as session:
            row = session.get_one(Host, self.hosts[name])
            for column, value in values.items():
                setattr(row, column, value)


@contextmanager
def arena(lab: dict[str, Any]) -> Iterator[Arena]:
    """Take the lab over from its own control plane, until the block ends."""
    state = State.at(ROOT / ".lab")
    config = _impatient(state)
    notebook = state.path("witness.jsonl")
    options = settings.load(config, {})
    engine = db.connect(options.database_url)
    vault = Vault(options.master_key_file)
    orders = {
        "notebook": str(notebook),
        "ca": lab["ca"],
        "resolver": lab["resolver"],
        "listen": lab["control_plane"],
        "domain": options.probe_domain,
        "accounts": _accounts(lab, engine, vault),
    }
    control_plane.stop(state)
    try:
        with _witness(orders, notebook), ControlPlane(engine, options, vault) as control:
            for row in lab["hosts"]:
                # Mail met nobody while the receivers changed; its destination counts as dead.
                Machine(row["container"], row).sh("postqueue -f")
            with db.reading(engine) as session:
                hosts = {row.name: row.id for row in session.exec(select(Host))}
            yield Arena(config, control, Notes(notebook), hosts)
    finally:
        engine.dispose()
        _give_back()


def _give_back() -> None:
    # Not from here: what outlives its parent's interest is a leak to Python.
    script = (
        "from pathlib import Path\n"
        "from orchestrator import settings\n"
        "from orchestrator.lab import control_plane\n"
        "from orchestrator.lab.state import State\n"
        "state = State.at(Path('.lab'))\n"
        "control_plane.start(state, settings.load(state.path('mailfleet.toml'), {}))\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True, cwd=ROOT)


def _impatient(state: State) -> Path:
    lines = state.path("mailfleet.toml").read_text().splitlines()
    kept = [line for line in lines if line.split(" ")[0] not in IMPATIENT]
    changed = [f"{name} = {value}" for name, value in IMPATIENT.items()]
    return state.write("chaos.toml", "\n".join([*kept, *changed, ""]))


def _accounts(lab: dict[str, Any], engine: Engine, vault: Vault) -> list[dict[str, str]]:
    with db.reading(engine) as session:
        rows = {row.email: row for row in session.exec(select(Mailbox))}
    return [
        {
            "host": row["name"],
            "address": row["dedicated_ips"][0],
            "email": MAILBOXES[row["name"]],
            "password": vault.decrypt(rows[MAILBOXES[row["name"]]].password),
        }
        for row in lab["hosts"]
    ]


@contextmanager
def _witness(orders: dict[str, Any], notebook: Path) -> Iterator[None]:
    notebook.unlink(missing_ok=True)
    script = Path(__file__).with_name("witness.py")
    with subprocess.Popen(
        [sys.executable, str(script)], stdin=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        process.stdin.write(json.dumps(orders) + "\n")
        process.stdin.flush()
        try:
            wait_for("the witness", lambda: notebook.exists() and notebook.stat().st_size)
            yield
            assert process.poll() is None, "the witness has ended"
        finally:
            process.stdin.close()
