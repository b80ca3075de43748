"""Transactions, and what a commit waits for."""

import sqlite3
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from databases import PostgreSQL
from sqlalchemy import Engine, text
from sqlalchemy.exc import OperationalError
from sqlmodel import Session

from orchestrator import db


def _waits_for_the_disk(session: Session) -> bool:
    if session.get_bind().dialect.name == "sqlite":
        full = 2
        return bool(session.execute(text("PRAGMA synchronous")).scalar_one() == full)
    # The tests' server never waits: what was said in the transaction is told apart from that.
    settings = "SELECT source FROM pg_settings WHERE name = 'synchronous_commit'"
    return bool(session.execute(text(settings)).scalar_one() != "session")


def test_commits_wait_for_the_disk_unless_told_otherwise(engine: Engine) -> None:
    # Taking turns on the same connection.
    for _ in range(2):
        with db.writing(engine) as session:
            assert _waits_for_the_disk(session)
        with db.writing(engine, durable=False) as session:
            assert not _waits_for_the_disk(session)
    with db.reading(engine) as session:
        assert _waits_for_the_disk(session)


def test_a_database_of_this_version_is_opened_while_somebody_writes(
    sqlite_template: Path, tmp_path: Path
) -> None:
    path = tmp_path / "mailfleet.db"
    path.write_bytes(sqlite_template.read_bytes())
    writer = sqlite3.connect(path, isolation_level=None)
    writer.execute("BEGIN IMMEDIATE")
    db.upgrade(f"sqlite:///{path}")
    writer.close()


def test_threads_take_turns_at_writing(engine: Engine) -> None:
    with db.writing(engine) as session:
        session.execute(text("CREATE TABLE counted (n INTEGER)"))
        session.execute(text("INSERT INTO counted VALUES (0)"))

    def count(_: int) -> None:
        with db.writing(engine) as session:
            session.execute(text("UPDATE counted SET n = n + 1"))

    with ThreadPoolExecutor(16) as threads:
        list(threads.map(count, range(200)))
    with db.reading(engine) as session:
        assert session.execute(text("SELECT n FROM counted")).scalar_one() == 200


def test_a_writer_that_fails_lets_the_next_one_in(engine: Engine) -> None:
    with pytest.raises(ValueError, match="no"), db.writing(engine):
        raise ValueError("no")
    with db.writing(engine) as session:
        assert session.execute(text("SELECT 1")).scalar_one() == 1


def test_a_transaction_that_is_left_alone_gives_up_its_locks(
    postgresql: PostgreSQL, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As that of a process which is stopped in the middle of it."""
    monkeypatch.setattr(db, "IDLE_IN_TRANSACTION", 300)
    engine = db.connect(postgresql.empty())
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE held (n INTEGER)"))
        connection.execute(text("INSERT INTO held VALUES (0)"))
    stopped = engine.connect()
    stopped.execute(text("UPDATE held SET n = 1"))
    with db.writing(engine) as session:
        session.execute(text("UPDATE held SET n = 2"))
    with pytest.raises(OperationalError) as told:
        stopped.execute(text("SELECT n FROM held"))
    assert told.value.connection_invalidated
    stopped.close()
    with db.reading(engine) as session:
        assert session.execute(text("SELECT n FROM held")).scalar_one() == 2
    engine.dispose()
