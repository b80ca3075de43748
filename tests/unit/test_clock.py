"""A clock that was ahead leaves nothing waiting for ever."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import Engine
from sqlmodel import select

from orchestrator import db
from orchestrator.db import reading, writing
from orchestrator.models import Host, utcnow
from orchestrator.services import clock

LONGEST = {"host": 300.0, "dns": 30.0, "egress": 86400.0, "reputation": 3600.0}


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    url = f"sqlite:///{tmp_path / 'mailfleet.db'}"
    db.upgrade(url)
    made = db.connect(url)
    yield made
    made.dispose()


def test_only_what_was_put_off_too_far_becomes_due(engine: Engine) -> None:
    now = utcnow()
    soon, late = now + timedelta(seconds=200), now + timedelta(days=2)
    with writing(engine) as session:
        for name, due in (("soon", soon), ("late", late)):
            session.add(
                Host(
                    name=name,
                    hostname=f"{name}.acme.com",
                    address=f"127.0.0.{len(name)}",
                    host_key=f"x {name}",
                    due_at=due,
                    dns_due_at=late,
                )
            )
    with writing(engine) as session:
        clock.set_right(session, now, LONGEST)
    with reading(engine) as session:
        rows = {row.name: (row.due_at, row.dns_due_at) for row in session.exec(select(Host))}
    assert rows["soon"] == (soon, now)
    assert rows["late"] == (now, now)
