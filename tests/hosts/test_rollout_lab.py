"""A template that breaks hosts stays with the canary; a plan that empties hosts stops and asks."""

import imaplib
import sqlite3
import ssl
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from shutil import copytree
from typing import Any

import pytest
from labkit import BIN, MAILBOXES, ROOT, Machine, Operator, wait_for
from sqlmodel import select

from orchestrator import db, settings
from orchestrator.models import Workspace, utcnow
from orchestrator.rendering import requirements
from orchestrator.secrets import Vault
from orchestrator.services import mailboxes

pytestmark = pytest.mark.lab

STATE = ROOT / ".lab"
WORKSPACE = "acme"
#: Per host: enough that a share of them means something.
BOXES = 24


@dataclass(frozen=True)
class Plane:
    """A control plane that goes on from a copy of the lab's database, with its own templates."""

    operator: Operator
    templates: Path

    @property
    def directory(self) -> Path:
        return self.operator.config.parent

    def sql(self, *statements: str) -> None:
        with sqlite3.connect(self.directory / "mailfleet.db") as connection:
            for statement in statements:
                connection.execute(statement)
        connection.close()

    def newest(self) -> dict[str, Any]:
        row: dict[str, Any] = self.operator.json("reconcile", "rollout")[0]
        return row

    def ended(self, above: int) -> dict[str, Any]:
        """The release after number `above`, once it is on all hosts or has failed."""

        def look() -> dict[str, Any] | None:
            row = self.newest()
            return row if row["release"] > above and row["state"] in ("done", "failed") else None

        return wait_for("the end of the rollout", look)

    def change(self, name: str, change: Callable[[str], str]) -> dict[str, Any]:
        before = self.newest()["release"]
        path = self.templates / name
        path.write_text(change(path.read_text()))
        return self.ended(before)


@pytest.fixture(scope="module")
def plane(
    operator: Operator, machines: dict[str, Machine], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Plane]:
    """In the place of the lab's own, which leaves its hosts alone meanwhile."""
    for name in machines:
        operator.ok("mailfleet", "hosts", "pause", name)
    wait_for("the end of passes", lambda: not _leased())
    directory = tmp_path_factory.mktemp("plane")
    plane = Plane(Operator(directory / "mailfleet.toml"), directory / "templates")
    copytree(ROOT / "templates", plane.templates)
    _copy(plane)
    yield plane
    for name in machines:
        operator.ok("mailfleet", "hosts", "resume", name)
    operator.ok("reconcile", "apply", "--yes", "--allow-removals")


def _leased() -> list[Any]:
    with sqlite3.connect(STATE / "mailfleet.db") as connection:
        rows = connection.execute("SELECT 1 FROM host WHERE lease_owner IS NOT NULL").fetchall()
    connection.close()
    return rows


def _copy(plane: Plane) -> None:
    source = sqlite3.connect(STATE / "mailfleet.db")
    target = sqlite3.connect(plane.directory / "mailfleet.db")
    source.backup(target)
    source.close()
    target.close()
    # Mail that proves egress would arrive at the lab's own control plane.
    plane.sql("UPDATE host SET paused = 0", "DELETE FROM condition WHERE type = 'EgressProven'")
    lab = settings.load(STATE / "mailfleet.toml", {})
    files = ("master_key_file", "ssh_key_file", "known_hosts_file", "ca_file", "ca_key_file")
    plane.operator.config.write_text(
        f'database_url = "sqlite:///{plane.directory}/mailfleet.db"\n'
        + "".join(f'{name} = "{getattr(lab, name)}"\n' for name in files)
        + f'resolvers = ["{lab.resolvers[0]}"]\nfleet_domain = "{lab.fleet_domain}"\n'
        f'template_directory = "{plane.templates}"\ncanary_seconds = 1.0\n'
        'allow_private_targets = true\nmetrics_listen = ""\nprobe_interval = 5.0\n'
    )


@pytest.fixture(scope="module")
def running(plane: Plane, machines: dict[str, Machine]) -> Iterator[Plane]:
    """Its reconciler at work."""
    with (plane.directory / "log").open("wb") as log:
        process = subprocess.Popen(
            [str(BIN / "reconcile"), "--config", str(plane.operator.config), "run"],
            stdout=log,
            stderr=log,
        )
    yield plane
    process.terminate()
    assert process.wait(60) == 0


def serves(operator: Operator, lab: dict[str, Any], machine: Machine) -> None:
    """Every service answers as it must, and a mailbox of each host can be read."""
    machine.sh(requirements.of(machine.described["os"]).smoke)
    user = MAILBOXES[machine.name]
    password = operator.ok("mailfleet", "mailboxes", "password", user, "--workspace", WORKSPACE)
    context = ssl.create_default_context(cafile=lab["ca"])
    with imaplib.IMAP4_SSL(machine.described["dedicated_ips"][0], ssl_context=context) as client:
        assert client.login(user, password)[0] == "OK"


def converged(operator: Operator) -> bool:
    plans = operator.json("reconcile", "plan")
    return all(row["reason"] is None and not row["changes"] for row in plans)


# The mailboxes come first, while no reconciler runs beside the commands.


@pytest.fixture
def crowded(plane: Plane) -> Iterator[Plane]:
    """Many mailboxes on both hosts."""
    options = settings.load(plane.operator.config, {})
    engine, vault = db.connect(options.database_url), Vault(options.master_key_file)
    emails = [f"many.{n}@acme-mail.net" for n in range(2 * BOXES)]
    with db.writing(engine) as session:
        workspace = session.exec(select(Workspace).where(Workspace.slug == WORKSPACE)).one()
        mailboxes.create(session, vault, options, workspace, emails)
    engine.dispose()
    plane.operator.ok("reconcile", "apply", "--yes")
    yield plane
    plane.sql("DELETE FROM mailbox WHERE email LIKE 'many.%'")
    plane.operator.ok("reconcile", "apply", "--yes", "--allow-removals")


def served(machine: Machine) -> int:
    return machine.sh("cat /etc/dovecot/users").count("\nmany.")


def test_removing_what_nobody_asked_to_remove_stops_and_asks(
    crowded: Plane, machines: dict[str, Machine]
) -> None:
    operator, hosts = crowded.operator, machines.values()
    assert [served(machine) for machine in hosts] == [BOXES, BOXES]

    # Tenants may delete as much as they like.
    now = utcnow().strftime("%Y-%m-%d %H:%M:%S.%f")
    crowded.sql(
        f"UPDATE mailbox SET deleted_at = '{now}' WHERE email LIKE 'many.%'"
        f" AND CAST(substr(email, 6) AS INTEGER) < {BOXES}"
    )
    operator.ok("reconcile", "apply", "--yes")
    assert [served(machine) for machine in hosts] == [BOXES // 2, BOXES // 2]

    crowded.sql("DELETE FROM mailbox WHERE email LIKE 'many.%'")
    refused = operator.run("reconcile", "apply", "--yes")
    assert refused.returncode == 1
    assert f"{BOXES // 2} of {BOXES // 2 + 1} entries of /etc/dovecot/users" in refused.stdout
    assert "--allow-removals" in refused.stdout
    assert [served(machine) for machine in hosts] == [BOXES // 2, BOXES // 2]
    status = operator.run("reconcile", "status")
    assert status.returncode == 1
    assert status.stdout.count("UnsafePlan") == len(machines)

    operator.ok("reconcile", "apply", "--yes", "--allow-removals")
    assert [served(machine) for machine in hosts] == [0, 0]


def test_a_harmless_change_reaches_all_hosts(running: Plane, machines: dict[str, Machine]) -> None:
    ended = running.change("etc/postfix/main.cf.j2", lambda text: text + "# A harmless comment\n")
    assert (ended["state"], ended["hosts"], ended["converged"]) == ("done", 2, 2)
    for machine in machines.values():
        assert "# A harmless comment" in machine.sh("cat /etc/postfix/main.cf")
    assert running.operator.run("reconcile", "rollout").returncode == 0


@pytest.mark.parametrize(
    ("name", "host", "reason", "change"),
    [
        (
            *("debian13/etc/dovecot/dovecot.conf.j2", "mx2", "ValidationFailed"),
            lambda text: text + "no_such_setting = yes\n",
        ),
        # Nothing is wrong with it, but that clients don't find it where it was.
        (
            *("debian12/etc/dovecot/dovecot.conf.j2", "mx1", "SmokeTestFailed"),
            lambda text: text.replace("listen = *, ::", "listen = 127.0.0.2"),
        ),
        (
            *("etc/postfix/main.cf.j2", "mx", "RenderingFailed"),
            lambda text: text + "{{ spec.nothing }}\n",
        ),
    ],
)
def test_a_template_that_breaks_hosts_stops_at_the_canary(  # noqa: PLR0917
    running: Plane,
    lab: dict[str, Any],
    machines: dict[str, Machine],
    name: str,
    host: str,
    reason: str,
    change: Callable[[str], str],
) -> None:
    before = (running.templates / name).read_text()
    ended = running.change(name, change)
    try:
        assert (ended["state"], ended["hosts"]) == ("failed", 0)
        assert ended["failed_on"].startswith(host)
        assert ended["message"].startswith(reason)
        assert running.operator.run("reconcile", "rollout").returncode == 1
        status = running.operator.run("reconcile", "status")
        assert status.returncode == 1
        assert "RolloutFailed" in status.stdout
        wait_for("the files as they were", lambda: converged(running.operator))
        for machine in machines.values():
            serves(running.operator, lab, machine)
    finally:
        running.change(name, lambda _: before)
