"""Moving an installation to another database: from SQLite to PostgreSQL, or back."""

from sqlalchemy import Connection, Engine, Table, insert, select
from sqlmodel import SQLModel

from orchestrator import db
from orchestrator.errors import Conflict
from orchestrator.models import Host

#: Rows in one statement.
BATCH = 500


def copy(source: Engine, target_url: str) -> dict[str, int]:
    """Copy every row into the database at ``target_url``, which is made this version's.

    Nobody may be writing to the source: stop the API and the reconcilers first. The target has
    all of it or, after a failure, nothing. Leases are not copied: no pass goes on elsewhere.

    :returns: how many rows each table has now.
    :raises Conflict: when the target holds anything.
    :raises ConfigurationError: when the target can't be opened.
    """
    db.upgrade(target_url)
    target = db.connect(target_url)
    try:
        # One transaction each: what is read is of one moment.
        with source.connect() as old, target.begin() as new:
            # A table comes after those that its rows refer to.
            tables = SQLModel.metadata.sorted_tables
            for table in tables:
                if new.execute(select(table).limit(1)).first() is not None:
                    raise Conflict(f"the target is not empty: there are rows in {table.name}")
            return {table.name: _copy(table, old, new) for table in tables}
    finally:
        target.dispose()


def _copy(table: Table, old: Connection, new: Connection) -> int:
    free = {"lease_owner": None, "lease_until": None} if table.name == Host.__tablename__ else {}
    count = 0
    for rows in old.execute(select(table)).mappings().partitions(BATCH):
        new.execute(insert(table), [{**row, **free} for row in rows])
        count += len(rows)
    return count
