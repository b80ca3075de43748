"""An installation moves to another database with every row, or not at all."""

from pathlib import Path

import pytest
from databases import PostgreSQL
from sqlalchemy import select
from sqlmodel import SQLModel
from storekit import Store

from orchestrator import db
from orchestrator.conditions import Type
from orchestrator.errors import Conflict
from orchestrator.installation import copying
from orchestrator.leases import Leases


@pytest.fixture
def target(postgresql: PostgreSQL, tmp_path: Path, store: Store) -> str:
    """An empty database of the other engine."""
    if store.engine.dialect.name == "sqlite":
        return postgresql.empty()
    return f"sqlite:///{tmp_path / 'other.db'}"


def test_every_row_arrives_as_it_was(store: Store, target: str) -> None:
    host = store.host()
    store.pool(host, "198.51.100.21", "2001:db8::21")
    workspace = store.workspace()
    store.key(workspace)
    store.assign(workspace)
    store.prove(store.domain(workspace))
    store.mailboxes(workspace, "alice@acme.com")
    store.observe(host, Type.CONVERGED)
    leases = Leases(store.engine, 60)
    leases.claim([host.id])
    counts = copying.copy(store.engine, target)
    leases.close()
    assert counts["mailbox"] == 1
    assert counts["address"] == 2
    copied = db.connect(target)
    for table in SQLModel.metadata.sorted_tables:
        rows = select(table).order_by(table.c.id)
        with store.engine.connect() as old, copied.connect() as new:
            assert list(new.execute(rows)) == list(old.execute(rows))
    copied.dispose()


def test_a_database_with_anything_in_it_is_refused(store: Store, target: str) -> None:
    store.workspace()
    copying.copy(store.engine, target)
    with pytest.raises(Conflict, match="workspace"):
        copying.copy(store.engine, target)
