"""What every service does with rows."""

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from uuid import UUID

from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import IntegrityError
from sqlmodel import Session, col, select

from orchestrator.errors import Conflict
from orchestrator.models import Domain, Host, Row, Workspace


@contextmanager
def unique(session: Session, message: str) -> Iterator[None]:
    """Write what the block adds; a broken uniqueness rule is a Conflict saying ``message``.

    The database has the last word: another request may have won since we looked.
    """
    try:
        yield
        session.flush()
    except IntegrityError:
        raise Conflict(message) from None


def insert(session: Session, table: type[Row]) -> sqlite.Insert | postgresql.Insert:
    """An INSERT of the session's database, for its ``ON CONFLICT``: both have the same."""
    if session.get_bind().dialect.name == "sqlite":
        return sqlite.insert(table)
    return postgresql.insert(table)


def lock(
    session: Session, table: type[Workspace] | type[Domain] | type[Host], ids: Collection[UUID]
) -> None:
    """Let nobody else change the rows before this transaction ends; in order (see ``db``).

    SQLite has one writer in any case.
    """
    rows = select(table.id).where(col(table.id).in_(ids)).order_by(col(table.id))
    session.exec(rows.with_for_update(key_share=True)).all()
