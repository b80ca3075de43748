"""The schema: up from every earlier revision, and the same as the models'."""

import multiprocessing
from multiprocessing.synchronize import Barrier
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from databases import KINDS, PostgreSQL
from sqlmodel import SQLModel

import orchestrator.models  # noqa: F401 - registers the tables
from orchestrator import db
from orchestrator.errors import ConfigurationError

REVISIONS = [script.revision for script in ScriptDirectory(str(db.MIGRATIONS)).walk_revisions()]


@pytest.fixture(params=KINDS)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A database without tables."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'mailfleet.db'}"
    server: PostgreSQL = request.getfixturevalue("postgresql")
    return server.empty()


@pytest.mark.parametrize("start", [None, *REVISIONS])
def test_every_earlier_schema_is_brought_up(url: str, start: str | None) -> None:
    if start is not None:
        db.upgrade(url, start)
    db.upgrade(url)
    db.upgrade(url)  # harmless again
    engine = db.connect(url)
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert context.get_current_revision() == REVISIONS[0]
        assert compare_metadata(context, SQLModel.metadata) == []
    engine.dispose()


def _upgrade_with_others(barrier: Barrier, url: str) -> None:
    import alembic.command  # noqa: F401 - what takes longest is done before the start

    barrier.wait(60)
    db.upgrade(url)


def test_processes_that_start_together_migrate_once(url: str) -> None:
    processes = multiprocessing.get_context("forkserver")
    barrier = processes.Barrier(4)
    started = [
        processes.Process(target=_upgrade_with_others, args=(barrier, url)) for _ in range(4)
    ]
    for process in started:
        process.start()
    for process in started:
        process.join(120)
    assert [process.exitcode for process in started] == [0, 0, 0, 0]
    engine = db.connect(url)
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), SQLModel.metadata) == []
    engine.dispose()


def test_a_database_of_a_newer_version_is_refused(url: str) -> None:
    db.upgrade(url)
    engine = db.connect(url)
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    engine.dispose()
    with pytest.raises(ConfigurationError, match="9999"):
        db.upgrade(url)


@pytest.mark.parametrize(
    "unusable",
    [
        "nonsense",
        "nosuch://x",
        "sqlite:////proc/nowhere/x.db",
        "postgresql+psycopg://nobody@/x?host=/proc/nowhere",
    ],
)
def test_an_unusable_database_is_said_clearly(unusable: str) -> None:
    with pytest.raises(ConfigurationError):
        db.upgrade(unusable)
