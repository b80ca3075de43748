"""What is under way when a pass reads its wishes is not taken for applied."""

import threading
from datetime import datetime
from uuid import UUID

from sqlalchemy import Engine

from orchestrator.db import horizon, reading, writing
from orchestrator.models import Workspace, utcnow


def test_what_is_begun_is_committed_or_later_than_the_horizon(engine: Engine) -> None:
    begun, finish = threading.Event(), threading.Event()
    row = UUID(int=1)
    born: list[datetime] = []

    def slow() -> None:
        with writing(engine) as session:
            made = Workspace(id=row, slug="slow", name="Slow", verification_token="x")
            born.append(made.created_at)
            session.add(made)
            session.flush()
            begun.set()
            finish.wait(10)

    thread = threading.Thread(target=slow)
    thread.start()
    assert begun.wait(10)
    # On SQLite the horizon waits for the writer, so that he must be let go meanwhile.
    threading.Timer(0.3, finish.set).start()
    moment = horizon(engine)
    with reading(engine) as session:
        seen = session.get(Workspace, row) is not None
    finish.set()
    thread.join()
    assert seen or moment <= born[0]


def test_where_nothing_is_under_way_the_horizon_is_now(engine: Engine) -> None:
    before = utcnow()
    assert before <= horizon(engine) <= utcnow()
