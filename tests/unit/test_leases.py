"""Leases: one holder at a time, renewed while held, free again when the holder is gone."""

import time
from datetime import datetime, timedelta
from uuid import UUID

import pytest
from labkit import wait_for
from sqlalchemy import Engine

from orchestrator.db import reading, writing
from orchestrator.leases import Leases
from orchestrator.models import Host, utcnow


@pytest.fixture
def host_id(engine: Engine) -> UUID:
    with writing(engine) as session:
        row = Host(name="mx", hostname="mx.acme.com", address="127.0.0.1", host_key="x y")
        session.add(row)
    return row.id


def test_a_second_holder_is_refused_until_the_first_lets_go(engine: Engine, host_id: UUID) -> None:
    one, two = Leases(engine, 60), Leases(engine, 60)
    with one.hold(host_id) as first:
        assert first
        with two.hold(host_id) as second:
            assert not second
    with two.hold(host_id) as second:
        assert second
    one.close()
    two.close()


def _until(engine: Engine, host_id: UUID) -> datetime:
    with reading(engine) as session:
        until = session.get_one(Host, host_id).lease_until
    assert until is not None
    return until


def test_a_held_lease_is_renewed(engine: Engine, host_id: UUID) -> None:
    leases = Leases(engine, 0.6)
    with leases.hold(host_id):
        first = _until(engine, host_id)
        wait_for("another until", lambda: _until(engine, host_id) > first)
    leases.close()


def test_the_lease_of_a_dead_holder_runs_out(engine: Engine, host_id: UUID) -> None:
    with writing(engine) as session:
        row = session.get_one(Host, host_id)
        row.lease_owner, row.lease_until = "dead:1", utcnow() - timedelta(seconds=1)
    leases = Leases(engine, 60)
    with leases.hold(host_id) as held:
        assert held
    leases.close()


def test_a_lease_of_a_clock_that_was_ahead_holds_nobody_up(engine: Engine, host_id: UUID) -> None:
    with writing(engine) as session:
        row = session.get_one(Host, host_id)
        row.lease_owner, row.lease_until = "ahead:1", utcnow() + timedelta(days=2)
    leases = Leases(engine, 60)
    with leases.hold(host_id) as held:
        assert held
    leases.close()


def test_a_database_that_was_gone_does_not_end_the_renewing(engine: Engine, host_id: UUID) -> None:
    leases = Leases(engine, 0.6)
    with leases.hold(host_id):
        with engine.begin() as connection:
            connection.exec_driver_sql("ALTER TABLE host RENAME TO gone")
        time.sleep(0.6)
        with engine.begin() as connection:
            connection.exec_driver_sql("ALTER TABLE gone RENAME TO host")
        before = _until(engine, host_id)
        wait_for("another until", lambda: _until(engine, host_id) > before)
    leases.close()
