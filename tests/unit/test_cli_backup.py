"""`mailfleet backup` and `mailfleet restore`, as an operator and their scripts run them."""

import json
import os
import pty
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from backupkit import elsewhere, fill, furnish, rows, unpacked
from click.testing import CliRunner, Result
from databases import Databases
from storekit import Store

from orchestrator import db
from orchestrator.cli import mailfleet
from orchestrator.cli.app import App
from orchestrator.installation import backup
from orchestrator.services import hosts
from orchestrator.settings import Settings

Run = Callable[..., Result]


def configuration(settings: Settings, path: Path) -> Path:
    """A settings file with these paths."""
    names = sorted(backup.paths(settings).keys() - {backup.SSH_PUBLIC_KEY})
    files = {name: str(getattr(settings, name)) for name in [*names, "known_hosts_file"]}
    values = {"database_url": settings.database_url, "fleet_domain": "fleetlab.net", **files}
    path.write_text("".join(f'{name} = "{value}"\n' for name, value in values.items()))
    return path


def runner(config: Path) -> Run:
    def call(*argv: str, given: bytes | None = None) -> Result:
        app = App(config)
        result = CliRunner(env={"MAILFLEET_CONFIG": None}).invoke(
            mailfleet, argv, obj=app, input=given
        )
        if "engine" in vars(app):
            app.engine.dispose()
        return result

    return call


@pytest.fixture
def old(store: Store, tmp_path: Path) -> Run:
    """Commands on an installation that has everything."""
    furnish(store)
    fill(store)
    return runner(configuration(store.settings, tmp_path / "old.toml"))


@pytest.fixture
def machine(databases: Databases, tmp_path: Path) -> Iterator[Settings]:
    """An empty one."""
    (tmp_path / "db").mkdir()
    with databases.migrated("sqlite", tmp_path / "db") as url:
        yield elsewhere(tmp_path / "machine", url)


@pytest.fixture
def new(machine: Settings, tmp_path: Path) -> Run:
    """Commands there."""
    return runner(configuration(machine, tmp_path / "new.toml"))


def test_an_installation_comes_back_and_waits_until_somebody_has_looked(
    store: Store, old: Run, new: Run, machine: Settings, tmp_path: Path
) -> None:
    file = tmp_path / "mailfleet.backup"
    done = old("backup", str(file))
    assert done.exit_code == 0, done.output
    assert "master_key_file" in done.stdout and done.stderr == ""
    assert file.stat().st_mode & 0o777 == 0o600
    done = new("restore", str(file))
    assert done.exit_code == 0, done.output
    for line in (
        "hosts: 2, workspaces: 1, domains: 1, mailboxes: 2",
        "  mx1 is paused: restored from the backup of 20",
        "  move 198.51.100.21 (mx1) -> 198.51.100.32 (mx2) of acme: was preparing",
        "  overdue scheduled messages of acme: 1, given up",
        "  reconcile plan",
        "  mailfleet hosts resume --restored",
    ):
        assert line in done.stdout
    known = machine.known_hosts_file.read_text()
    assert "198.51.100.11 ssh-ed25519" in known and "198.51.100.12 ssh-ed25519" in known
    listed = json.loads(new("hosts", "list", "--json").stdout)
    assert [row["paused"] for row in listed] == [True, True]
    done = new("hosts", "resume", "--restored")
    assert (done.exit_code, done.stdout) == (
        0,
        "mx1 is taken up again\nmx2 is taken up again\n",
    )
    listed = json.loads(new("hosts", "list", "--json").stdout)
    assert [(row["paused"], row["reason"]) for row in listed] == [(False, ""), (False, "")]


def test_what_has_moved_since_is_said_before_hosts_are_taken_up(
    old: Run, new: Run, tmp_path: Path
) -> None:
    file = tmp_path / "mailfleet.backup"
    old("backup", str(file))
    new("restore", str(file))
    move = ["addresses", "move", "198.51.100.21"]
    assert new(*move, "--moved", "alice@acme.com").exit_code == 64
    done = new(*move, "--to", "198.51.100.32", "--moved", "Alice@acme.com")
    assert (done.exit_code, done.output) == (0, "Alice@acme.com: at 198.51.100.32\n")
    listed = json.loads(new("mailboxes", "list", "--workspace", "acme", "--json").stdout)
    assert {row["email"]: row["host"] for row in listed} == {
        "alice@acme.com": "mx2",
        "ben@acme.com": "mx1",
    }
    new("hosts", "resume", "--restored")
    done = new(*move, "--to", "198.51.100.32", "--moved", "ben@acme.com")
    assert (done.exit_code, "no host waits after a restore" in done.output) == (1, True)


def test_programs_read_what_was_done(old: Run, new: Run, tmp_path: Path) -> None:
    file = tmp_path / "mailfleet.backup"
    told = json.loads(old("backup", str(file), "--json").stdout)
    assert (told["rows"]["mailbox"], told["absent"]) == (2, [])
    assert told["files"] == sorted(backup.NAMES)
    restored = json.loads(new("restore", str(file), "--json").stdout)
    assert restored["made_at"] == told["made_at"]
    assert restored["written"] == told["files"]
    assert (restored["same"], restored["unset"]) == ([], [])
    assert (restored["hosts"], restored["mailboxes"]) == (2, 2)
    assert set(restored["held"]) == {"hosts", "moves", "messages", "purges"}
    assert restored["held"]["messages"] == {"acme": 1}


def test_a_backup_goes_through_pipes(old: Run, new: Run) -> None:
    done = old("backup", "-")
    assert done.exit_code == 0, done.stderr
    assert "master_key_file" in done.stderr
    assert "manifest.json" in unpacked(done.stdout_bytes)
    told = old("backup", "-", "--json")
    assert json.loads(told.stderr)["rows"]["host"] == 2
    assert new("restore", "-", given=told.stdout_bytes).exit_code == 0


def test_no_secret_is_told(store: Store, old: Run, new: Run, tmp_path: Path) -> None:
    file = tmp_path / "mailfleet.backup"
    said = "".join(
        run(name, str(file), *option).output
        for run, name, option in (
            (old, "backup", ["--json"]),
            (old, "backup", ["--force"]),
            (new, "restore", []),
            (new, "restore", ["--json"]),  # refused: it is there already
        )
    )
    with db.reading(store.engine) as session:
        keys = [host.host_key for host in hosts.list_(session)]
    files = (path.read_bytes() for path in backup.paths(store.settings).values())
    for secret in [*keys, *(text.decode(errors="ignore").strip() for text in files)]:
        assert secret and secret not in said
    assert "gAAAA" not in said


def test_an_existing_file_is_replaced_only_when_that_is_said(old: Run, tmp_path: Path) -> None:
    file = tmp_path / "mailfleet.backup"
    file.write_text("last night's")
    done = old("backup", str(file))
    assert (done.exit_code, done.output) == (1, f"error: {file} exists already\n")
    assert file.read_text() == "last night's"
    assert old("backup", str(file), "--force").exit_code == 0
    assert "manifest.json" in unpacked(file.read_bytes())
    assert file.stat().st_mode & 0o777 == 0o600


def test_a_backup_that_fails_leaves_no_file_and_keeps_the_last(
    store: Store, old: Run, tmp_path: Path
) -> None:
    directory = tmp_path / "backups"
    directory.mkdir()
    file = directory / "mailfleet.backup"
    file.write_text("last night's")
    store.settings.master_key_file.unlink()
    done = old("backup", str(file), "--force")
    assert done.exit_code == 1
    assert "can't read the master key" in done.stderr
    assert [path.name for path in directory.iterdir()] == ["mailfleet.backup"]
    assert file.read_text() == "last night's"
    done = old("backup", "-")
    assert (done.exit_code, done.stdout_bytes) == (1, b"")


def test_where_nothing_can_be_written_it_is_said(old: Run) -> None:
    done = old("backup", "/nowhere/mailfleet.backup")
    assert done.exit_code == 1
    assert "error: can't write /nowhere/mailfleet.backup: No such file" in done.stderr


def test_what_is_missing_is_told(store: Store, tmp_path: Path) -> None:
    furnish(store)
    store.settings.ssh_key_file.unlink()
    run = runner(configuration(store.settings, tmp_path / "old.toml"))
    done = run("backup", str(tmp_path / "mailfleet.backup"))
    assert done.exit_code == 0
    assert done.stderr == "not in it: ssh_key_file is not there\n"


def test_usage_is_told(old: Run, new: Run, tmp_path: Path) -> None:
    assert old("backup").exit_code == 64
    assert old("hosts", "resume").exit_code == 64
    assert old("hosts", "resume", "mx1", "--restored").exit_code == 64
    done = new("restore", str(tmp_path / "nothing"))
    assert done.exit_code == 1
    assert f"can't read {tmp_path / 'nothing'}: No such file" in done.stderr
    assert new("restore", "-", given=b"age-encryption.org/v1").exit_code == 1


def _command(store: Store, tmp_path: Path, *argv: str) -> list[str]:
    config = configuration(store.settings, tmp_path / "old.toml")
    return [sys.executable, "-m", "orchestrator.cli", "--config", str(config), *argv]


def test_a_terminal_gets_no_backup(store: Store, tmp_path: Path) -> None:
    furnish(store)
    ours, theirs = pty.openpty()
    argv = _command(store, tmp_path, "backup", "-")
    done = subprocess.run(argv, stdout=theirs, stderr=subprocess.PIPE, check=False, timeout=120)
    os.close(theirs)
    os.close(ours)
    assert done.returncode == 64
    assert b"a backup is not for a terminal" in done.stderr


def test_who_reads_the_pipe_may_go_away(store: Store, tmp_path: Path) -> None:
    furnish(store)
    argv = _command(store, tmp_path, "backup", "-")
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(argv, stdout=write, stderr=subprocess.PIPE, check=False, timeout=120)
    os.close(write)
    assert done.returncode == 1
    assert done.stderr.decode().splitlines() == ["error: can't write the backup: Broken pipe"]


def test_restoring_onto_what_is_in_use_is_refused(store: Store, old: Run, tmp_path: Path) -> None:
    file = tmp_path / "mailfleet.backup"
    old("backup", str(file))
    before = rows(store.engine)
    done = old("restore", str(file))
    assert done.exit_code == 1
    assert "the target is not empty: there are rows in" in done.stderr
    assert rows(store.engine) == before
