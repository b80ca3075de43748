"""All rows of an installation in another database: from SQLite to PostgreSQL, or back."""

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Connection, Engine, Table, insert, inspect, literal, select, table
from sqlalchemy.exc import OperationalError
from sqlmodel import SQLModel

from orchestrator import db
from orchestrator.errors import ConfigurationError, Conflict
from orchestrator.models import Host

#: Rows in one statement.
BATCH = 500


def copy(source: Engine, target_url: str) -> dict[str, int]:
    """Copy every row into the database at ``target_url``, which is made this version's.

    It is as of one moment, and nobody waits for it: who writes to the source meanwhile may, and
    is not copied. The target has all of it or, after a failure, nothing.

    :returns: how many rows each table has now.
    :raises Conflict: when the target holds anything.
    :raises ConfigurationError: when the target can't be opened.
    """
    with opened(target_url) as target, snapshot(source) as old, target.begin() as new:
        return fill(old, new)


@contextmanager
def opened(url: str) -> Iterator[Engine]:
    """An empty database, made this version's.

    :raises Conflict: when it holds anything; then it was not touched.
    :raises ConfigurationError: when it can't be opened.
    """
    engine = db.connect(url)
    try:
        try:
            with snapshot(engine) as connection:
                _require_empty(connection)
        except OperationalError as error:
            raise ConfigurationError(f"the database can't be opened: {error.orig}") from None
        db.upgrade(url)
        yield engine
    finally:
        engine.dispose()


@contextmanager
def snapshot(engine: Engine) -> Iterator[Connection]:
    """A connection that reads everything as of one moment, and keeps nobody from writing."""
    options = (
        # A transaction's statements see the same (PostgreSQL's manual, 13.2.2).
        {"isolation_level": "REPEATABLE READ"}
        if engine.dialect.name == "postgresql"
        # In WAL mode a reader goes on seeing what it saw first (sqlite.org/isolation.html).
        else {"sqlite_begin": "DEFERRED"}
    )
    with engine.connect().execution_options(**options) as connection:
        yield connection


def fill(old: Connection, new: Connection) -> dict[str, int]:
    """Copy every row; both are of this version's schema, and ``new`` is empty.

    Leases are not copied: no pass goes on elsewhere.

    :returns: how many rows each table has.
    :raises Conflict: when ``new`` is not empty.
    """
    _require_empty(new)
    # A table comes after those that its rows refer to.
    return {each.name: _copy(each, old, new) for each in SQLModel.metadata.sorted_tables}


def _require_empty(connection: Connection) -> None:
    for name in inspect(connection).get_table_names():
        rows = select(literal(1)).select_from(table(name)).limit(1)
        if name != "alembic_version" and connection.execute(rows).first() is not None:
            raise Conflict(f"the target is not empty: there are rows in {name}")


def _copy(kind: Table, old: Connection, new: Connection) -> int:
    free = {"lease_owner": None, "lease_until": None} if kind.name == Host.__tablename__ else {}
    count = 0
    rows = old.execute(select(kind), execution_options={"yield_per": BATCH})
    for batch in rows.mappings().partitions():
        new.execute(insert(kind), [{**row, **free} for row in batch])
        count += len(batch)
    return count
