"""A backup holds all of an installation as of one moment, and comes back on either database."""

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import backupkit
import msgspec
import pytest
from alembic.script import ScriptDirectory
from backupkit import elsewhere, fill, furnish, rows, unpacked
from databases import KINDS, Databases, Kind
from sqlalchemy import Engine, MetaData, Table, event, insert, inspect
from sqlalchemy.types import Boolean, DateTime, Integer, Uuid
from sqlmodel import SQLModel
from storekit import Store

from orchestrator import db, secrets
from orchestrator.errors import ConfigurationError, Conflict
from orchestrator.installation import archive, backup, copying, restore, sealed
from orchestrator.installation.archive import DATABASE, FILES, Manifest
from orchestrator.models import utcnow
from orchestrator.secrets import Vault
from orchestrator.settings import Settings

REVISIONS = [script.revision for script in ScriptDirectory(str(db.MIGRATIONS)).walk_revisions()]
#: What a restore decides anew; everything else comes back as it was.
DECIDED = {
    "host": {"paused", "pause_reason", "restored_from", "lease_owner", "lease_until"},
    "move": {"phase", "ended_at", "claim", "reason", "message"},
    "scheduledmessage": {"state", "content", "ended_at", "response"},
    "condition": set(SQLModel.metadata.tables["condition"].c.keys()),
}


@pytest.fixture(params=KINDS)
def target(request: pytest.FixtureRequest, databases: Databases, tmp_path: Path) -> Iterator[str]:
    """An empty database of this version, on each engine in turn."""
    kind: Kind = request.param
    (tmp_path / "target").mkdir()
    with databases.migrated(kind, tmp_path / "target") as url:
        yield url


@pytest.fixture
def empty(target: str, tmp_path: Path) -> Settings:
    """An empty machine."""
    return elsewhere(tmp_path / "machine", target)


def made(store: Store) -> bytes:
    """A backup."""
    out = io.BytesIO()
    backup.make(store.engine, store.settings, out)
    return out.getvalue()


def compared(engine: Engine) -> dict[str, list[Any]]:
    """All rows, but for what a restore decides anew."""
    return {
        name: [
            {k: v for k, v in row._mapping.items() if k not in DECIDED.get(name, ())}
            for row in found
        ]
        for name, found in rows(engine).items()
        if name != "condition"
    }


def test_every_row_and_file_comes_back_on_either_database(store: Store, empty: Settings) -> None:
    files = furnish(store)
    fill(store)
    before = compared(store.engine)
    assert {name for name, found in rows(store.engine).items() if not found} == set()
    done = restore.restore(io.BytesIO(made(store)), empty)
    restored = db.connect(empty.database_url)
    assert compared(restored) == before
    with db.reading(restored) as session:
        sealed.require_opened(session, Vault(empty.master_key_file))
    restored.dispose()
    there = backup.paths(empty)
    assert {name: path.read_bytes() for name, path in there.items()} == files
    assert {path.stat().st_mode & 0o777 for path in there.values()} == {0o600}
    assert done.files == sorted(files)
    assert (done.same, done.unset) == ([], [])
    assert done.living == {"hosts": 2, "workspaces": 1, "domains": 1, "mailboxes": 2}


def test_everything_that_is_encrypted_is_known(store: Store) -> None:
    fill(store)
    known = {(column.table.name, column.name) for column in sealed.SEALED}
    found = {
        (name, key)
        for name, table in rows(store.engine).items()
        for row in table
        for key, value in row._mapping.items()
        if isinstance(value, str) and value.startswith("gAAAA")  # Fernet's version and time
    }
    assert found == known


def test_a_backup_tells_what_is_in_it_and_no_secret(store: Store) -> None:
    files = furnish(store)
    fill(store)
    store.settings.known_hosts_file.write_text("not ours to keep")
    found = unpacked(made(store))
    assert set(found) == {"manifest.json", DATABASE} | {FILES + name for name in files}
    told = found["manifest.json"].decode()
    manifest = msgspec.json.decode(told, type=Manifest)
    assert manifest.schema == REVISIONS[0]
    assert manifest.rows == {name: len(table) for name, table in rows(store.engine).items()}
    assert abs((manifest.made_at - utcnow()).total_seconds()) < 60
    key = store.settings.master_key_file.read_text().strip()
    assert key not in told
    assert key.encode() not in found[DATABASE]


def test_who_writes_meanwhile_waits_for_nobody_and_is_not_in_it(
    store: Store, empty: Settings
) -> None:
    furnish(store)
    fill(store)
    before = compared(store.engine)
    # The first has been read when this one is about to be.
    second = SQLModel.metadata.sorted_tables[1].name
    written: list[str] = []

    def write(_: Any, __: Any, statement: str, *___: Any) -> None:
        if f"FROM {second}" in statement and not written:
            written.append(statement)
            store.host("mx3", "198.51.100.13")
            store.workspace("late")

    event.listen(store.engine, "before_cursor_execute", write)
    archived = made(store)
    assert written
    restore.restore(io.BytesIO(archived), empty)
    restored = db.connect(empty.database_url)
    assert compared(restored) == before
    assert len(compared(store.engine)["host"]) == len(before["host"]) + 1
    restored.dispose()


def _anything(column: Any) -> object:
    """A value for a column of an older schema that may not be null."""
    kinds: list[tuple[type, object]] = [
        (Boolean, False),
        (Integer, 1),
        (DateTime, utcnow()),
        (Uuid, uuid4()),
    ]
    return next((v for kind, v in kinds if isinstance(column.type, kind)), column.name)


def _older(path: Path, revision: str) -> None:
    """A database as an older version left it, with a host and a tenant."""
    url = f"sqlite:///{path}"
    db.upgrade(url, revision)
    engine = db.connect(url)
    with engine.begin() as connection:
        for name in ("host", "workspace"):
            table = Table(name, MetaData(), autoload_with=connection, resolve_fks=False)
            needed = [c for c in table.c if not c.nullable and c.server_default is None]
            values = {c.name: _anything(c) for c in needed if c.name != "id"}
            connection.execute(insert(table).values(id=uuid4().hex, **values))
    engine.dispose()


@pytest.mark.parametrize("revision", REVISIONS)
def test_a_backup_of_an_older_version_is_restored(
    empty: Settings, tmp_path: Path, revision: str
) -> None:
    _older(tmp_path / DATABASE, revision)
    secrets.create_master_key(tmp_path / "master.key")
    members = {
        DATABASE: (tmp_path / DATABASE).read_bytes(),
        FILES + "master_key_file": (tmp_path / "master.key").read_bytes(),
    }
    made_then = backupkit.manifest(members, schema=revision, version="0.0.9")
    old = backupkit.packed(("manifest.json", made_then), *members.items())
    done = restore.restore(io.BytesIO(old), empty)
    assert (done.living["hosts"], done.living["workspaces"]) == (1, 1)
    assert list(done.held.hosts) == ["name"]


def test_a_backup_without_the_master_key_is_none(store: Store) -> None:
    fill(store)
    out = io.BytesIO()
    key = store.settings.master_key_file
    other = key.with_name("other.key")
    secrets.create_master_key(other)
    key.write_bytes(other.read_bytes())
    with pytest.raises(ConfigurationError, match="opens a stored secret"):
        backup.make(store.engine, store.settings, out)
    key.unlink()
    with pytest.raises(ConfigurationError, match="can't read the master key"):
        backup.make(store.engine, store.settings, out)
    assert out.getvalue() == b""


def test_the_master_key_is_missed_even_where_nothing_needs_it_yet(store: Store) -> None:
    store.settings.master_key_file.unlink()
    with pytest.raises(ConfigurationError, match="can't read the master key"):
        backup.make(store.engine, store.settings, io.BytesIO())


def test_a_file_that_is_no_key_is_refused(store: Store) -> None:
    furnish(store)
    store.settings.ca_file.write_bytes(bytes(archive.SMALL + 1))
    with pytest.raises(ConfigurationError, match=r"ca_file .* is larger than"):
        backup.make(store.engine, store.settings, io.BytesIO())
    store.settings.ca_file.unlink()
    store.settings.ca_file.mkdir()
    with pytest.raises(ConfigurationError, match="can't read ca_file"):
        backup.make(store.engine, store.settings, io.BytesIO())


def test_a_copy_is_refused_before_the_target_is_touched(store: Store, tmp_path: Path) -> None:
    older = tmp_path / "older.db"
    _older(older, "0001")
    engine = db.connect(f"sqlite:///{older}")
    with pytest.raises(Conflict, match="not empty"):
        copying.copy(store.engine, f"sqlite:///{older}")
    assert not inspect(engine).has_table("move")
    engine.dispose()
