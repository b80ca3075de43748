"""What is due is done: once, apart from what is slow, and after whatever went wrong."""

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from functools import partial
from uuid import UUID, uuid4

import pytest
from databases import PostgreSQL
from labkit import wait_for
from sqlalchemy import Engine, text
from sqlmodel import Session, select
from storekit import Store

from orchestrator import db, leases
from orchestrator.db import writing
from orchestrator.models import Domain, Host, utcnow
from orchestrator.scheduler import Chore, Scheduler, Work

Start = Callable[..., Scheduler]


@pytest.fixture
def start() -> Iterator[Start]:
    """Start schedulers that end with the test, as their connections do."""
    running: list[tuple[Scheduler, Engine]] = []

    def begin(engine: Engine, works: list[Work], chores: Iterable[Chore] = ()) -> Scheduler:
        scheduler = Scheduler(engine, works, list(chores), lambda *_: None)
        scheduler.start()
        running.append((scheduler, engine))
        return scheduler

    yield begin
    for scheduler, engine in running:
        scheduler.close()
        engine.dispose()


def always(*ids: UUID) -> Callable[[Session, datetime], Iterable[UUID]]:
    def due(session: Session, now: datetime) -> Iterable[UUID]:
        session.execute(text("SELECT 1"))
        return ids

    return due


def due_domains(session: Session, now: datetime) -> Iterable[UUID]:
    return session.exec(select(Domain.id).where(Domain.dns_due_at <= now))


def test_slow_work_delays_no_other_kind(engine: Engine, start: Start) -> None:
    stop, done = threading.Event(), threading.Event()
    slow = Work("slow", always(*(uuid4() for _ in range(50))), lambda _: stop.wait(60), threads=2)
    start(engine, [slow, Work("quick", always(uuid4()), lambda _: done.set())])
    assert done.wait(30)
    stop.set()


def test_a_defect_rests_its_subject_and_keeps_no_thread(engine: Engine, start: Start) -> None:
    bad, good = uuid4(), uuid4()
    seen: list[UUID] = []

    def do(subject: UUID) -> None:
        seen.append(subject)
        if subject == bad:
            raise RuntimeError("a defect")

    scheduler = start(engine, [Work("x", always(bad, good), do, threads=1)])

    def five() -> bool:
        scheduler.look()
        return seen.count(good) >= 5

    wait_for("the good one", five)
    assert seen.count(bad) == 1


def test_no_subject_is_under_way_twice(engine: Engine, start: Start) -> None:
    subject, running, most = uuid4(), [0], [0]

    def do(_: UUID) -> None:
        running[0] += 1
        most[0] = max(most[0], running[0])
        time.sleep(0.01)
        running[0] -= 1

    scheduler = start(engine, [Work("x", always(subject), do)])
    for _ in range(50):
        scheduler.look()
        time.sleep(0.002)
    assert most[0] == 1


def test_a_change_is_looked_at_without_a_poll(
    store: Store, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestrator.scheduler.POLL", 3600.0)
    store.pool(store.host(), "198.51.100.21")
    workspace = store.workspace()
    store.assign(workspace)
    done = threading.Event()
    claim = partial(leases.put_off, store.engine, Domain.dns_due_at, 60.0)
    with writing(store.engine) as session:
        for row in session.exec(select(Domain)):
            row.dns_due_at = utcnow().replace(year=2999)
    start(store.engine, [Work("domain", due_domains, lambda _: done.set(), claim)])
    store.domain(workspace)
    assert done.wait(30)


def test_two_reconcilers_do_each_thing_once(store: Store, start: Start) -> None:
    for number in range(30):
        store.host(f"mx{number}")
    seen: list[UUID] = []
    claim = partial(leases.put_off, store.engine, Domain.dns_due_at, 60.0)
    work = Work("domain", due_domains, seen.append, claim)
    engines = [db.connect(store.settings.database_url) for _ in range(2)]
    for engine in engines:
        start(engine, [work])
    wait_for("all of them", lambda: len(seen) >= 30)
    assert len(seen) == len(set(seen)) == 30


def test_a_database_that_restarts_is_said_twice_and_passed_over(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with PostgreSQL.temporary() as server:
        engine = db.connect(server.empty())
        looked: list[UUID] = []
        work = Work("x", always(uuid4()), looked.append)
        scheduler = Scheduler(engine, [work], [], lambda *_: None)
        scheduler.start()
        wait_for("a first look", lambda: bool(looked))
        server.stop()
        wait_for("the outage", lambda: "does not serve us" in caplog.text)
        time.sleep(2.5)
        looked.clear()
        server.start()
        wait_for("the return", lambda: bool(looked) and "serves us again" in caplog.text)
        scheduler.close()
        engine.dispose()
    ours = [r.getMessage() for r in caplog.records if r.name.startswith("orchestrator")]
    assert len(ours) == 2, ours


def test_a_chore_is_done_by_one_at_a_time(database_url: str, start: Start) -> None:
    running, most, times = [0], [0], [0]
    lock = threading.Lock()

    def do() -> None:
        with lock:
            running[0] += 1
            most[0] = max(most[0], running[0])
        time.sleep(0.05)
        with lock:
            running[0] -= 1
            times[0] += 1

    engines = [db.connect(database_url) for _ in range(2 if "postgresql" in database_url else 1)]
    for engine in engines:
        start(engine, [], [Chore("tidy", 0.05, do)])
    wait_for("some chores", lambda: times[0] > 5)
    assert most[0] == 1


def test_a_lost_lease_is_not_ours(store: Store) -> None:
    host = store.host()
    held = leases.Leases(store.engine, 60)
    with held.hold(host.id):
        with writing(store.engine) as session:
            row = session.get_one(Host, host.id)
            held.require(row)
            row.lease_owner = "another:1"
        with writing(store.engine) as session, pytest.raises(leases.LeaseLostError):
            held.require(session.get_one(Host, host.id))
    with db.reading(store.engine) as session:
        assert session.get_one(Host, host.id).lease_owner == "another:1"
    held.close()
