"""What every service does with rows."""

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.exc import IntegrityError
from sqlmodel import Session

from orchestrator.errors import Conflict


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
