"""Hands on the lab for tests: commands as an operator runs them, hosts as root sees them."""

import json
import os
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import commandkit
import httpx
from sqlalchemy import Engine
from sqlmodel import col, select

from orchestrator import db
from orchestrator.hostspec import MailStore
from orchestrator.models import AddressState, PublishedRecord, Zone, utcnow
from orchestrator.services import addresses

T = TypeVar("T")

ROOT = Path(__file__).resolve().parents[1]
BIN = ROOT / ".venv" / "bin"
#: The demonstration workspace's mailbox on each host.
MAILBOXES = {"mx1": "alice@acme-mail.net", "mx2": "bob@acme-mail.net"}


def wait_for(
    what: str, look: Callable[[], T | None], seconds: float = 60.0, *, every: float = 0.25
) -> T:
    """Look until there is something; fail with `what` after so many seconds."""
    deadline = time.monotonic() + seconds
    while True:
        seen = look()
        if seen is not None and seen is not False:
            return seen
        assert time.monotonic() < deadline, f"{what} did not come about within {seconds:g} s"
        time.sleep(every)


@dataclass(frozen=True)
class Machine:
    """A container of the lab, as root."""

    container: str
    described: dict[str, Any] = field(default_factory=dict)

    def run(self, *argv: str, stdin: bytes | None = None) -> subprocess.CompletedProcess[bytes]:
        """Run a command inside; its exit code is the caller's business."""
        command = ["docker", "exec", "-i", self.container, *argv]
        return subprocess.run(
            command, input=stdin or b"", capture_output=True, timeout=60, check=False
        )

    def sh(self, script: str) -> str:
        """Run a shell script inside; it must succeed."""
        done = self.run("sh", "-ceu", script)
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout.decode()

    @property
    def name(self) -> str:
        return str(self.described["name"])


@dataclass(frozen=True)
class Operator:
    """The commands, run against one configuration file."""

    config: Path

    def run(self, *argv: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        """Run `mailfleet …` or `reconcile …`."""
        environment = {**os.environ, "MAILFLEET_CONFIG": str(self.config)}
        return commandkit.run(argv, environment, stdin)

    def json(self, *argv: str) -> Any:
        """Run a command with `--json` and give what it printed."""
        done = self.run(*argv, "--json")
        assert done.stdout, done.stderr
        return json.loads(done.stdout)

    def ok(self, *argv: str) -> str:
        """Run a command that must succeed."""
        done = self.run(*argv)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout.strip()


@dataclass(frozen=True)
class Tenant:
    """One workspace's view of the native API."""

    client: httpx.Client

    def call(self, method: str, path: str, body: object = None, **query: Any) -> httpx.Response:
        """Any request."""
        return self.client.request(method, path, json=body, params=query)

    def data(self, method: str, path: str, body: object = None, **query: Any) -> Any:
        """A request that must succeed; gives its `data`."""
        answer = self.call(method, path, body, **query)
        assert answer.status_code == 200, answer.text
        return answer.json()["data"]

    def mailbox(self, email: str) -> Any:
        """The mailbox of that address."""
        rows = self.data("GET", "/mailboxes")
        return next(row for row in rows if row["email"] == email)

    def home(self, email: str) -> str:
        """Where the host of one of its mailboxes keeps the mail."""
        directory = self.data("GET", "/me")["workspace"]["id"].removeprefix("ws_")
        return MailStore(email, directory).home


def mint_key(operator: Operator, workspace: str) -> str:
    """A key of the workspace for tests: they ask more often than a tenant may."""
    rates = [f"--rate={bucket}=100000/10000" for bucket in ("default", "send", "fetch")]
    named = ("--workspace", workspace, "--name", "tests")
    return operator.ok("mailfleet", "keys", "create", *named, *rates)


def withdrawn(engine: Engine, zone: str) -> None:
    """Wait until a zone holds nothing that we published."""

    def empty() -> bool:
        with db.reading(engine) as session:
            rows = select(PublishedRecord).join(Zone, col(Zone.id) == PublishedRecord.zone_id)
            return session.exec(rows.where(Zone.name == zone)).first() is None

    wait_for(f"nothing of ours in {zone}", empty, 90)


def rest_is_over(engine: Engine) -> None:
    """A week later: what has cooled down is in the pool again."""

    def free() -> bool:
        with db.writing(engine) as session:
            addresses.end_cooldowns(session, utcnow() + timedelta(days=8), 7 * 86400)
            rows = addresses.list_(session)
            return all(row.state is not AddressState.COOLDOWN for row in rows)

    wait_for("free addresses", free)
