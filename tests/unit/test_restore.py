"""What a restore refuses, and that nothing of it is left when it fails."""

import io
import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import backupkit
import msgspec
import pytest
from backupkit import elsewhere, fill, furnish, rows
from sqlalchemy import Engine, event
from storekit import Store

from orchestrator import db, secrets
from orchestrator.errors import ConfigurationError, Conflict, Invalid, OrchestratorError
from orchestrator.installation import archive, backup, restore
from orchestrator.settings import Settings


@pytest.fixture(scope="module")
def archived(few_keys: None, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A backup of an installation that has everything."""
    store = Store(tmp_path_factory.mktemp("old"))
    out = io.BytesIO()
    furnish(store)
    fill(store)
    backup.make(store.engine, store.settings, out)
    store.close()
    return out.getvalue()


@pytest.fixture
def machine(database_url: str, tmp_path: Path) -> Settings:
    """An empty one, with a database of each engine in turn."""
    return elsewhere(tmp_path / "machine", database_url)


@pytest.fixture
def engine(machine: Settings) -> Iterator[Engine]:
    """Its database."""
    made = db.connect(machine.database_url)
    yield made
    made.dispose()


def put_back(archived: bytes, machine: Settings) -> restore.Restored:
    return restore.restore(io.BytesIO(archived), machine)


def require_untouched(machine: Settings, engine: Engine) -> None:
    """No file and no row is there, nor anything half written."""
    assert list(machine.master_key_file.parent.iterdir()) == []
    assert {name for name, found in rows(engine).items() if found} == set()


def refused(
    archived: bytes, machine: Settings, engine: Engine, kind: type[OrchestratorError], words: str
) -> None:
    with pytest.raises(kind, match=words):
        put_back(archived, machine)
    require_untouched(machine, engine)


def test_a_database_that_holds_anything_is_refused(
    archived: bytes, machine: Settings, engine: Engine
) -> None:
    put_back(archived, machine)
    before = rows(engine)
    machine = elsewhere(machine.master_key_file.parent / "again", machine.database_url)
    with pytest.raises(Conflict, match="not empty"):
        put_back(archived, machine)
    assert list(machine.master_key_file.parent.iterdir()) == []
    assert rows(engine) == before


def test_a_file_with_other_content_is_refused_and_kept(
    archived: bytes, machine: Settings, engine: Engine
) -> None:
    machine.ca_file.write_text("another CA")
    with pytest.raises(Conflict, match=r"ca_file .*ca_file\.here is there already"):
        put_back(archived, machine)
    assert machine.ca_file.read_text() == "another CA"
    machine.ca_file.unlink()
    require_untouched(machine, engine)


def test_a_file_that_is_there_already_is_left_as_it_is(archived: bytes, machine: Settings) -> None:
    content = backupkit.unpacked(archived)["files/ca_file"]
    machine.ca_file.write_bytes(content)
    machine.ca_file.chmod(0o644)
    done = put_back(archived, machine)
    assert done.same == ["ca_file"]
    assert "ca_file" not in done.files
    assert machine.ca_file.stat().st_mode & 0o777 == 0o644


def test_what_no_setting_names_here_is_told_and_left_out(
    archived: bytes, machine: Settings
) -> None:
    machine = msgspec.structs.replace(machine, stripe_key_file=None)
    assert put_back(archived, machine).unset == ["stripe_key_file"]


def test_two_settings_with_one_file_need_one_content(
    archived: bytes, machine: Settings, engine: Engine
) -> None:
    shared = msgspec.structs.replace(machine, acme_ca_file=machine.ca_file)
    refused(archived, shared, engine, Conflict, "is another setting's file, too")
    same = {"files/acme_ca_file": backupkit.unpacked(archived)["files/ca_file"]}
    put_back(backupkit.repacked(archived, same), shared)


def test_a_directory_that_is_missing_is_told(
    archived: bytes, machine: Settings, engine: Engine
) -> None:
    moved = msgspec.structs.replace(machine, ca_key_file=Path("/nowhere/ca.key"))
    refused(archived, moved, engine, ConfigurationError, "ca_key_file: .* no directory /nowhere")


def test_a_file_that_cannot_be_looked_at_is_told(
    archived: bytes, machine: Settings, engine: Engine
) -> None:
    moved = msgspec.structs.replace(machine, ca_key_file=Path("/proc/self/mem"))
    refused(archived, moved, engine, ConfigurationError, "can't read ca_key_file")


def test_another_master_key_is_refused(
    archived: bytes, machine: Settings, engine: Engine, tmp_path: Path
) -> None:
    secrets.create_master_key(tmp_path / "other.key")
    for content in ((tmp_path / "other.key").read_bytes(), b"\xff no key", None):
        wrong = backupkit.repacked(archived, {"files/master_key_file": content})
        refused(wrong, machine, engine, Invalid, "the master key in the backup does not open")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"format": archive.FORMAT + 1}, "format 2: restore it by a newer Mailfleet"),
        ({"format": "newest"}, "manifest is damaged"),
        ({"made_at": "2026-01-01T12:00:00"}, "manifest is damaged"),
        ({"version": "\x1b[2J"}, "manifest is damaged"),
        ({"members": {}}, "holds no database"),
    ],
)
def test_a_manifest_that_is_not_ours_is_refused(
    archived: bytes, machine: Settings, engine: Engine, changes: dict[str, Any], words: str
) -> None:
    refused(backupkit.repacked(archived, {}, **changes), machine, engine, Invalid, words)


@pytest.fixture
def changed(archived: bytes, tmp_path: Path) -> Callable[[str], bytes]:
    """The backup with a statement carried out in its database, whatever it breaks."""

    def change(statement: str) -> bytes:
        path = tmp_path / "changed.db"
        path.write_bytes(backupkit.unpacked(archived)[archive.DATABASE])
        with closing(sqlite3.connect(path)) as connection, connection:
            connection.execute(statement)
        return backupkit.repacked(archived, {archive.DATABASE: path.read_bytes()}, schema="9999")

    return change


def test_a_newer_schema_is_refused(
    changed: Callable[[str], bytes], machine: Settings, engine: Engine
) -> None:
    newer = changed("UPDATE alembic_version SET version_num = '9999'")
    refused(newer, machine, engine, Invalid, "schema 9999, which this version .* can't bring")


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        ("UPDATE move SET phase = 'teleporting'", "values that this version does not know"),
        ("UPDATE host SET created_at = 'once'", "values that this version does not know"),
        ("DELETE FROM workspace", "can't be filled: .*(?i:foreign key)"),
    ],
)
def test_rows_that_do_not_fit_are_refused(
    changed: Callable[[str], bytes], machine: Settings, engine: Engine, statement: str, words: str
) -> None:
    refused(changed(statement), machine, engine, OrchestratorError, words)


def test_a_database_that_is_none_is_refused(
    archived: bytes, machine: Settings, engine: Engine
) -> None:
    wrong = backupkit.repacked(archived, {archive.DATABASE: b"no database" * 1000})
    refused(wrong, machine, engine, Invalid, "file is not a database")


def test_a_commit_that_fails_takes_the_files_back(
    archived: bytes, machine: Settings, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[set[str]] = []

    def fail(_: object) -> None:
        seen.append({path.name for path in machine.master_key_file.parent.iterdir()})
        raise OSError("the disk is gone")

    connect = db.connect

    def connected(url: str, **options: Any) -> Engine:
        made = connect(url, **options)
        if url == machine.database_url:
            event.listen(made, "commit", fail)
        return made

    monkeypatch.setattr(db, "connect", connected)
    with pytest.raises(OSError, match="the disk is gone"):
        put_back(archived, machine)
    assert "master_key_file.here" in seen[-1]
    monkeypatch.undo()
    require_untouched(machine, engine)
    put_back(archived, machine)


@pytest.mark.parametrize("which", [0, 1, len(backup.NAMES) - 1])
def test_a_file_that_cannot_be_put_in_place_takes_all_back(
    archived: bytes,
    machine: Settings,
    engine: Engine,
    monkeypatch: pytest.MonkeyPatch,
    which: int,
) -> None:
    link, placed = Path.hardlink_to, 0

    def fail(self: Path, target: Path) -> None:
        nonlocal placed
        if placed == which:
            raise OSError(28, os.strerror(28))
        placed += 1
        link(self, target)

    monkeypatch.setattr(Path, "hardlink_to", fail)
    refused(archived, machine, engine, ConfigurationError, "can't write .*: No space left")
    monkeypatch.undo()
    put_back(archived, machine)


def test_a_file_that_comes_meanwhile_is_not_replaced(
    archived: bytes, machine: Settings, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = Path.hardlink_to

    def late(self: Path, target: Path) -> None:
        if self == machine.ca_file:
            self.write_text("somebody else's")
        link(self, target)

    monkeypatch.setattr(Path, "hardlink_to", late)
    with pytest.raises(Conflict, match=r"ca_file\.here exists already"):
        put_back(archived, machine)
    assert machine.ca_file.read_text() == "somebody else's"
    machine.ca_file.unlink()
    require_untouched(machine, engine)


def test_a_database_that_cannot_be_opened_is_told(archived: bytes, machine: Settings) -> None:
    nowhere = msgspec.structs.replace(machine, database_url="sqlite:////nowhere/mailfleet.db")
    with pytest.raises(ConfigurationError, match="unable to open database file"):
        put_back(archived, nowhere)
    assert list(machine.master_key_file.parent.iterdir()) == []
