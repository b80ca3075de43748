"""What every service does with rows."""

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from uuid import UUID

from sqlalchemy import func
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import IntegrityError
from sqlmodel import Session, col, select

from orchestrator.errors import Conflict
from orchestrator.models import Cluster, Domain, Host, Row, Workspace


@contextmanager
def unique(session: Session, message: str, *, field: str | None = None) -> Iterator[None]:
    """Write what the block adds; a broken uniqueness rule is a Conflict saying ``message``.

    The database has the last word: another request may have won since we looked.
    """
    try:
        yield
        session.flush()
    except IntegrityError:
        raise Conflict(message, field=field) from None


def insert(session: Session, table: type[Row]) -> sqlite.Insert | postgresql.Insert:
    """An INSERT of the session's database, for its ``ON CONFLICT``: both have the same."""
    if session.get_bind().dialect.name == "sqlite":
        return sqlite.insert(table)
    return postgresql.insert(table)


def lock(
    session: Session,
    table: type[Workspace] | type[Cluster] | type[Domain] | type[Host],
    ids: Collection[UUID],
) -> None:
    """Let nobody else change the rows before this transaction ends; in order (see ``db``).

    SQLite has one writer in any case.
    """
    rows = select(table.id).where(col(table.id).in_(ids)).order_by(col(table.id))
    session.exec(rows.with_for_update(key_share=True)).all()


def lock_name(session: Session, name: str) -> None:
    """Let nobody else decide about a domain's name before this transaction ends.

    For rules that no index can tell: which workspace a name is of. Before any row is locked.
    """
    if session.get_bind().dialect.name == "postgresql":
        session.exec(select(func.pg_advisory_xact_lock(func.hashtextextended(name, 0)))).all()
