"""Databases of both engines for tests: SQLite in a file, PostgreSQL from Debian on a socket.

A test that asks for ``database_url``, ``engine`` or ``store`` runs on both. The server is started
when the first of them needs it and ends with the tests; each test gets a database of its own.
"""

import itertools
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import pytest
from sqlalchemy import Engine, NullPool, create_engine, make_url
from storekit import Store

from orchestrator import db, dkim

#: What fits a database that need not outlive a power cut.
_CONFIGURATION = {
    "listen_addresses": "",
    "max_connections": "300",
    "fsync": "off",
    "full_page_writes": "off",
    "synchronous_commit": "off",
    "log_min_messages": "fatal",
}
_TEMPLATE = "mailfleet_template"

Kind = Literal["sqlite", "postgresql"]
KINDS: tuple[Kind, ...] = ("sqlite", "postgresql")


class PostgreSQL:
    """A server of our own: it refuses to run as root, so it gets Debian's user for it."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._data = directory / "data"
        self._user = "postgres" if os.geteuid() == 0 else None
        if self._user is not None:
            shutil.chown(directory, self._user)
        self._numbers = itertools.count()

    @classmethod
    @contextmanager
    def temporary(cls) -> "Iterator[PostgreSQL]":
        """A server that runs for the block."""
        with tempfile.TemporaryDirectory(prefix="mailfleet-pg-") as directory:
            server = cls(Path(directory))
            server.create()
            server.start()
            yield server
            server.stop()

    def create(self) -> None:
        """Make the server's files."""
        self._run("initdb", "--no-sync", "--auth=trust", "--username=postgres", "--locale=C.UTF-8")
        lines = [f"{name} = '{value}'\n" for name, value in _CONFIGURATION.items()]
        with (self._data / "postgresql.conf").open("a") as file:
            file.writelines([*lines, f"unix_socket_directories = '{self._directory}'\n"])

    def start(self) -> None:
        """Start, and wait until it answers."""
        self._run("pg_ctl", "--wait", f"--log={self._directory}/log", "start")

    def stop(self) -> None:
        """Cut off whoever is connected, and end."""
        self._run("pg_ctl", "--wait", "--mode=immediate", "stop")

    def url(self, name: str) -> str:
        """SQLAlchemy's URL of a database."""
        return f"postgresql+psycopg://postgres@/{name}?host={self._directory}"

    def empty(self) -> str:
        """A new database without tables."""
        return self._create("template1")

    def migrated(self) -> str:
        """A new database of this version's schema."""
        return self._create(_TEMPLATE)

    def prepare(self) -> None:
        """Make what ``migrated`` copies."""
        self._sql(f"CREATE DATABASE {_TEMPLATE}")
        db.upgrade(self.url(_TEMPLATE))

    def drop(self, url: str) -> None:
        """Remove a database; hundreds of them would fill a small disk."""
        self._sql(f'DROP DATABASE "{make_url(url).database}" WITH (FORCE)')

    def _create(self, template: str) -> str:
        name = f"mailfleet.db.{next(self._numbers)}"
        self._sql(f'CREATE DATABASE "{name}" TEMPLATE {template} STRATEGY FILE_COPY')
        return self.url(name)

    def _sql(self, statement: str) -> None:
        engine = create_engine(
            self.url("postgres"), isolation_level="AUTOCOMMIT", poolclass=NullPool
        )
        with engine.connect() as connection:
            connection.exec_driver_sql(statement)

    def _run(self, program: str, *arguments: str) -> None:
        newest = max(Path("/usr/lib/postgresql").iterdir(), key=lambda path: int(path.name))
        subprocess.run(
            [newest / "bin" / program, f"--pgdata={self._data}", *arguments],
            user=self._user,
            group=self._user,
            extra_groups=None if self._user is None else [],
            cwd=self._directory,
            stdin=subprocess.DEVNULL,
            # The server inherits its output: a pipe would never end.
            stdout=subprocess.DEVNULL,
            check=True,
        )


class Databases:
    """Databases for as long as a ``with`` lasts; the server starts with the first that needs it."""

    def __init__(self, request: pytest.FixtureRequest) -> None:
        self._request = request

    @contextmanager
    def migrated(self, kind: Kind, directory: Path) -> Iterator[str]:
        """A database of this version's schema; gives its URL."""
        if kind == "sqlite":
            path = directory / "mailfleet.db"
            shutil.copy(self._request.getfixturevalue("sqlite_template"), path)
            yield f"sqlite:///{path}"
            return
        server: PostgreSQL = self._request.getfixturevalue("postgresql")
        url = server.migrated()
        yield url
        server.drop(url)


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty database of this version's schema."""
    path = tmp_path_factory.mktemp("template") / "mailfleet.db"
    db.upgrade(f"sqlite:///{path}")
    return path


@pytest.fixture(scope="session")
def postgresql() -> Iterator[PostgreSQL]:
    """A running server."""
    with PostgreSQL.temporary() as server:
        server.prepare()
        yield server


@pytest.fixture(scope="session")
def databases(request: pytest.FixtureRequest) -> Databases:
    """Makes databases of either engine."""
    return Databases(request)


@pytest.fixture(params=KINDS)
def database_url(
    request: pytest.FixtureRequest, databases: Databases, tmp_path: Path
) -> Iterator[str]:
    """A migrated database of its own, on each engine in turn."""
    with databases.migrated(request.param, tmp_path) as url:
        yield url


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    """The same, opened."""
    made = db.connect(database_url)
    yield made
    made.dispose()


@pytest.fixture(scope="session")
def few_keys() -> Iterator[None]:
    """Real DKIM keys, handed out again and again: making one takes 0.1 s of processor time."""
    ring = itertools.cycle([dkim.generate() for _ in range(4)])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dkim, "generate", lambda: next(ring))
        yield


@pytest.fixture
def store(few_keys: None, database_url: str, tmp_path: Path) -> Iterator[Store]:
    """A control plane's database with its settings and master key, on each engine in turn."""
    made = Store(tmp_path, database_url)
    yield made
    made.close()
