"""Wake-up: what was committed is looked at at once, without waiting for the next poll.

PostgreSQL tells the reconcilers itself, with ``NOTIFY`` in the committing transaction. Beside a
SQLite file stands a datagram socket, ``<file>.wake``, to which the committing process sends.
Reconcilers also poll, so that a lost wake-up costs a second and nothing else.
"""

import contextlib
import logging
import socket
from collections.abc import Callable
from pathlib import Path
from threading import Event, Thread
from typing import Any

from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError
from sqlmodel import Session

CHANNEL = "mailfleet"
#: Seconds between two looks at whether listening should end, and to a database that is away.
PAUSE = 1.0

_ASKED = "mailfleet.wake"

log = logging.getLogger(__name__)


def request(session: Session) -> None:
    """Have the reconcilers look when this session's transaction is committed; twice is once."""
    session.info[_ASKED] = True


def before_commit(session: Session) -> None:
    """PostgreSQL's way: told with the commit, or not at all."""
    if session.info.get(_ASKED) and session.get_bind().dialect.name == "postgresql":
        session.connection().exec_driver_sql(f"NOTIFY {CHANNEL}")


def after_commit(session: Session, engine: Engine) -> None:
    """SQLite's way: told after the commit."""
    path = _socket_path(engine)
    if path is not None and session.info.pop(_ASKED, False):
        _send(path)


def _socket_path(engine: Engine) -> Path | None:
    name = engine.url.database
    return Path(f"{name}.wake") if engine.dialect.name == "sqlite" and name else None


def _send(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as sender:
        try:
            sender.sendto(b"", str(path))
        except BlockingIOError:
            return True  # as much as it can hold waits there already
        except OSError:
            return False  # nobody listens, or the path is too long: polling finds it
        return True


class Listener:
    """Calls ``look`` from a thread of its own at every wake-up, until it is closed."""

    def __init__(self, engine: Engine, look: Callable[[], None]) -> None:
        self._engine = engine
        self._look = look
        self._closed = Event()
        ways = {"postgresql": self._postgresql, "sqlite": self._sqlite}
        self._thread = Thread(target=ways[engine.dialect.name], name="wake-up", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Listen no more."""
        self._closed.set()
        self._thread.join()

    def _postgresql(self) -> None:
        # Not where the database is SQLite: every command would load it.
        import psycopg

        while not self._closed.is_set():
            # While the database is away, the scheduler says so.
            with contextlib.suppress(SQLAlchemyError, psycopg.Error):
                self._until_cut_off()
            self._closed.wait(PAUSE)

    def _until_cut_off(self) -> None:
        pooled = self._engine.raw_connection()
        connection: Any = pooled.dbapi_connection
        pooled.detach()
        with contextlib.closing(connection):
            connection.autocommit = True
            connection.execute(f"LISTEN {CHANNEL}")
            self._look()  # at what was committed while nobody listened
            while not self._closed.is_set():
                for _ in connection.notifies(timeout=PAUSE, stop_after=1):
                    self._look()

    def _sqlite(self) -> None:
        path = _socket_path(self._engine)
        if path is None or _send(path):
            return  # another reconciler listens: this one polls
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
            try:
                path.unlink(missing_ok=True)
                receiver.bind(str(path))
            except OSError as error:
                log.warning("no wake-ups, only polling: %s: %s", path, error)
                return
            receiver.settimeout(PAUSE)
            while not self._closed.is_set():
                with contextlib.suppress(TimeoutError):
                    receiver.recv(1)
                    self._look()
        path.unlink(missing_ok=True)
