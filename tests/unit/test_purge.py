"""Deleted rows go once every host has applied their absence, not before."""

from datetime import timedelta

import pytest
from sqlalchemy import Engine
from sqlmodel import select

from orchestrator.db import writing
from orchestrator.models import Domain, Host, Workspace, utcnow
from orchestrator.services import purge

NOW = utcnow()


@pytest.fixture(autouse=True)
def domain(engine: Engine) -> None:
    with writing(engine) as session:
        owner = Workspace(slug="acme", name="Acme", verification_token="t")
        session.add(owner)
        session.flush()
        session.add(Domain(name="acme.com", workspace_id=owner.id, deleted_at=NOW))


def add_host(engine: Engine, name: str, applied: float | None) -> None:
    at = None if applied is None else NOW + timedelta(seconds=applied)
    with writing(engine) as session:
        session.add(
            Host(name=name, hostname=name, address="127.0.0.1", host_key="x y", applied_at=at)
        )


@pytest.mark.parametrize(
    ("applied", "left"),
    [([1.0], 0), ([1.0, 2.0], 0), ([-1.0], 1), ([1.0, -1.0], 1), ([1.0, None], 1), ([], 1)],
)
def test_it_waits_for_every_host(engine: Engine, applied: list[float | None], left: int) -> None:
    for number, seconds in enumerate(applied):
        add_host(engine, f"mx{number}", seconds)
    with writing(engine) as session:
        assert purge.deleted(session) == 1 - left
        assert len(session.exec(select(Domain)).all()) == left


def test_what_is_not_deleted_stays(engine: Engine) -> None:
    add_host(engine, "mx", 1.0)
    with writing(engine) as session:
        session.exec(select(Domain)).one().deleted_at = None
    with writing(engine) as session:
        assert purge.deleted(session) == 0
