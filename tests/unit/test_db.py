"""Transactions, and what a commit waits for."""

import sqlite3
from pathlib import Path

from sqlalchemy import Engine, text
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
