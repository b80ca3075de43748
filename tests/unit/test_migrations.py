"""The schema: up from every earlier revision, and the same as the models'."""

from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlmodel import SQLModel

import orchestrator.models  # noqa: F401 - registers the tables
from orchestrator import db
from orchestrator.errors import ConfigurationError

REVISIONS = [script.revision for script in ScriptDirectory(str(db.MIGRATIONS)).walk_revisions()]


@pytest.mark.parametrize("start", [None, *REVISIONS])
def test_every_earlier_schema_is_brought_up(tmp_path: Path, start: str | None) -> None:
    url = f"sqlite:///{tmp_path / 'mailfleet.db'}"
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


def test_a_database_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'mailfleet.db'}"
    db.upgrade(url)
    engine = db.connect(url)
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    engine.dispose()
    with pytest.raises(ConfigurationError, match="9999"):
        db.upgrade(url)


@pytest.mark.parametrize("url", ["nonsense", "nosuch://x", "sqlite:////proc/nowhere/x.db"])
def test_an_unusable_database_is_said_clearly(url: str) -> None:
    with pytest.raises(ConfigurationError):
        db.upgrade(url)
