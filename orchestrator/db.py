"""The database: engine, sessions, migrations.

On PostgreSQL transactions run beside one another, so they lock rows in one order: workspace,
cluster, addresses, domains and mailboxes, scheduled messages, conditions, hosts; rows of one table
in the order of their ids. Who keeps to it never waits for somebody who waits for him.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from threading import Lock
from typing import Any
from weakref import WeakKeyDictionary

from sqlalchemy import ColumnElement, Engine, Pool, event, func, inspect, select, text
from sqlalchemy.engine.interfaces import ExceptionContext
from sqlalchemy.exc import OperationalError, SQLAlchemyError
from sqlmodel import Session, create_engine

from orchestrator import wakeup
from orchestrator.errors import ConfigurationError

MIGRATIONS = Path(__file__).parent / "migrations"
#: The schema of this version.
HEAD = "head"
#: Connections that a process keeps, and those that it may open beside them for a while.
POOL_SIZE = 5
POOL_OVERFLOW = 25
#: How long SQLite waits for whoever writes.
BUSY_SECONDS = 10
#: A server that is gone is noticed within half a minute (libpq's parameters, in seconds and ms).
POSTGRESQL = {
    "connect_timeout": 5,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,
}
#: How long a transaction may hold its locks while nothing is asked of it: a process that was
#: stopped in the middle of one does not keep others from its rows. In milliseconds.
IDLE_IN_TRANSACTION = 30_000
#: PostgreSQL's word for its end (appendix A, "PostgreSQL Error Codes").
IDLE_SQLSTATE = "25P03"

_turns: WeakKeyDictionary[Pool, Lock] = WeakKeyDictionary()


def connect(url: str, *, foreign_keys: bool = True) -> Engine:
    """Open the database at ``url`` (SQLAlchemy's form).

    :param foreign_keys: False for SQLite's migrations, which make tables anew under those
        that refer to them (sqlite.org/lang_altertable.html, section 7).
    :raises ConfigurationError: when the URL is not one or its driver is missing.
    """
    try:
        engine = create_engine(
            url,
            pool_pre_ping=not url.startswith("sqlite"),
            pool_size=POOL_SIZE,
            max_overflow=POOL_OVERFLOW,
            connect_args=POSTGRESQL if url.startswith("postgresql") else {},
            # Parameters hold encrypted and hashed secrets: never in an error or a log.
            hide_parameters=True,
        )
    except (SQLAlchemyError, ImportError) as error:
        raise ConfigurationError(f"MAILFLEET_DATABASE_URL can't be used: {error}") from None
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", partial(_configure_sqlite, foreign_keys))
        event.listen(engine, "begin", _begin_sqlite)
    else:
        event.listen(engine, "connect", _configure_postgresql)
        event.listen(engine, "handle_error", _as_outage)
        event.listen(engine, "begin", _begin_postgresql)
    return engine


def _configure_sqlite(foreign_keys: bool, connection: Any, _record: object) -> None:
    # The driver's own implicit BEGIN is off: it would start a reader that can't be upgraded
    # to a writer while another process commits (SQLITE_BUSY_SNAPSHOT).
    connection.isolation_level = None
    checked = f"foreign_keys={'ON' if foreign_keys else 'OFF'}"
    for pragma in ("journal_mode=WAL", checked, f"busy_timeout={BUSY_SECONDS * 1000}"):
        connection.execute(f"PRAGMA {pragma}")


def _configure_postgresql(connection: Any, _record: object) -> None:
    # Not as an option of the connection: PgBouncer takes none.
    connection.execute(f"SET idle_in_transaction_session_timeout TO {IDLE_IN_TRANSACTION}")
    connection.commit()


def _as_outage(context: ExceptionContext) -> OperationalError | None:
    """Of a transaction that was idle for too long: what any connection is lost by.

    The driver files it under internal errors.
    """
    if getattr(context.original_exception, "sqlstate", None) != IDLE_SQLSTATE:
        return None
    lost = context.original_exception
    return OperationalError(context.statement, None, lost, connection_invalidated=True)


def _begin_sqlite(connection: Any) -> None:
    options = connection.get_execution_options()
    level = "FULL" if options.get("durable", True) else "NORMAL"
    # Past SQLAlchemy, which would take longer for it than SQLite does.
    connection.connection.driver_connection.execute(f"PRAGMA synchronous={level}")
    connection.exec_driver_sql(f"BEGIN {options.get('sqlite_begin', 'IMMEDIATE')}")


def _begin_postgresql(connection: Any) -> None:
    if not connection.get_execution_options().get("durable", True):
        connection.exec_driver_sql("SET LOCAL synchronous_commit TO off")


def upgrade(url: str, revision: str = HEAD) -> bool:
    """Bring the schema to this version's, or to ``revision``; harmless when it already is.

    Processes that do so at the same time take turns: the first does the work.

    :returns: whether there was anything to do.
    :raises ConfigurationError: when the database can't be opened or is from a newer version.
    """
    engine = connect(url, foreign_keys=False)
    try:
        if revision == HEAD and _revision(engine) == newest():
            return False
        _migrate(engine, revision)
        return True
    except Exception as error:
        raise ConfigurationError(f"the database can't be migrated: {error}") from error
    finally:
        engine.dispose()


def _revision(engine: Engine) -> str | None:
    with engine.connect().execution_options(sqlite_begin="DEFERRED") as connection:
        if not inspect(connection).has_table("alembic_version"):
            return None
        found: str | None = connection.scalar(text("SELECT version_num FROM alembic_version"))
        return found


def newest() -> str:
    """The revision of this version's schema."""
    return max(file.name.partition("_")[0] for file in (MIGRATIONS / "versions").glob("0*.py"))


def _migrate(engine: Engine, revision: str) -> None:
    # Loading it takes as long as a whole command otherwise does.
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    with engine.begin() as connection:
        if engine.dialect.name == "postgresql":
            # SQLite's transaction has the only writer's lock from its beginning.
            connection.execute(select(func.pg_advisory_xact_lock(_key("migration"))))
        config.attributes["connection"] = connection
        command.upgrade(config, revision)


@contextmanager
def reading(engine: Engine) -> Iterator[Session]:
    """A session that only reads: on SQLite it takes no write lock."""
    with Session(engine.execution_options(sqlite_begin="DEFERRED")) as session:
        yield session


@contextmanager
def writing(engine: Engine, *, durable: bool = True) -> Iterator[Session]:
    """A session whose block is one transaction: all of it is committed, or none.

    :param durable: False where a power cut may take it back: nobody waits for the disk then
        (sqlite.org/pragma.html#pragma_synchronous, PostgreSQL's ``synchronous_commit``).
    """
    bound = engine.execution_options(durable=durable)
    with _turn(engine), Session(bound, expire_on_commit=False) as session:
        with session.begin():
            yield session
            wakeup.before_commit(session)
        wakeup.after_commit(session, engine)


@contextmanager
def _turn(engine: Engine) -> Iterator[None]:
    """On SQLite, one thread of this process at a time.

    Its own way of waiting is to sleep and look again, up to 100 ms at a time.
    """
    if engine.dialect.name != "sqlite":
        yield
        return
    turn = _turns.setdefault(engine.pool, Lock())
    # After that SQLite itself says what is wrong.
    mine = turn.acquire(timeout=BUSY_SECONDS)
    try:
        yield
    finally:
        if mine:
            turn.release()


def horizon(engine: Engine) -> datetime:
    """A moment before which nothing was begun that a reader who starts now would miss.

    What carries an earlier time is committed, or never will be. A transaction begins with its
    first statement: what it makes has to be made after that.
    """
    if engine.dialect.name == "sqlite":
        # There is one writer: whoever has the lock has waited for the others.
        with engine.begin():
            return datetime.now(UTC)
    oldest = text(
        "SELECT least(clock_timestamp(), min(xact_start)) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    with engine.connect() as connection:
        moment: datetime = connection.execute(oldest).scalar_one()
    return moment.astimezone(UTC)


@contextmanager
def alone(engine: Engine, name: str) -> Iterator[bool]:
    """Whether no other process is at the work of that name; none is during the block, then.

    On SQLite always so: there is one reconciler.
    """
    if engine.dialect.name != "postgresql":
        yield True
        return
    key = _key(name)
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        taken = bool(connection.scalar(select(func.pg_try_advisory_lock(key))))
        try:
            yield taken
        finally:
            if taken:
                connection.scalar(select(func.pg_advisory_unlock(key)))


def _key(name: str) -> ColumnElement[int]:
    """PostgreSQL's advisory locks are numbers."""
    return func.hashtextextended(name, 0)
