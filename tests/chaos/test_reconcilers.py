"""Reconcilers that are stopped, lose their database or their clock: hosts don't notice."""

import os
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager

import pytest
from chaos import steps
from chaos.conftest import Trials
from chaos.trial import Trial
from labkit import ROOT, Machine, wait_for
from processkit import family, send
from sqlmodel import col, select

from orchestrator import db
from orchestrator.conditions import Reason
from orchestrator.models import Host, Run

pytestmark = pytest.mark.lab

SECONDS = 30.0


def generation(trial: Trial) -> int:
    with db.reading(trial.arena.control.engine) as session:
        return session.get_one(Host, trial.arena.hosts[trial.machine.name]).generation


def reasons(trial: Trial) -> list[str | None]:
    """What became of the host's pushes, the latest first."""
    host = trial.arena.hosts[trial.machine.name]
    with db.reading(trial.arena.control.engine) as session:
        runs = select(Run).where(Run.host_id == host).order_by(col(Run.generation).desc())
        return [run.reason for run in session.exec(runs.limit(5))]


def test_a_reconciler_that_was_stopped_is_fenced(trials: Trials, machine: Machine) -> None:
    with trials("two reconcilers, one stopped before it pushes", machine) as trial:
        trial.healthy(trial.settle)
        trial.spoil(1)
        before = generation(trial)
        with trial.reconciler() as stale:
            assert stale.pid is not None
            wait_for("its number", lambda: generation(trial) > before, SECONDS)
            send(family(stale.pid), signal.SIGSTOP)
            # Another one takes the host over when the lease has run out.
            assert trial.suffer(trial.settle).reason is None
            trial.spoil(2)
            send(family(stale.pid), signal.SIGCONT)
            stale.join(SECONDS)
            # The host refused what it had begun; then it looked again, and put it right.
            assert stale.exitcode == 0
        assert Reason.FENCED in reasons(trial)


def test_a_reconciler_that_was_stopped_while_its_push_went_on(
    trials: Trials, machine: Machine
) -> None:
    with trials("two reconcilers, one stopped mid-apply", machine) as trial:
        trial.healthy(trial.settle)
        trial.spoil(1)
        with steps.watching(machine) as watch, trial.reconciler() as stale:
            assert stale.pid is not None
            assert watch.reach("validate", SECONDS)
            send(family(stale.pid), signal.SIGSTOP)
            assert trial.suffer(trial.settle).reason is None
            send(family(stale.pid), signal.SIGCONT)
            stale.join(SECONDS)
            assert stale.exitcode is not None


@contextmanager
def locked(trial: Trial, seconds: float) -> Iterator[None]:
    """Somebody holds SQLite's only write lock for so long."""
    database = trial.arena.control.engine.url.database
    assert database is not None
    begun = threading.Event()

    def hold() -> None:
        with closing(sqlite3.connect(database, timeout=60, isolation_level=None)) as connection:
            connection.execute("BEGIN IMMEDIATE")
            begun.set()
            threading.Event().wait(seconds)
            connection.execute("ROLLBACK")

    thread = threading.Thread(target=hold)
    thread.start()
    begun.wait()
    try:
        yield
    finally:
        thread.join()


def test_the_database_is_locked_for_seconds(trials: Trials, machine: Machine) -> None:
    with trials("SQLite locked for three seconds mid-pass", machine) as trial:
        trial.spoil(1)
        before = generation(trial)
        with trial.reconciler() as process:
            wait_for("its number", lambda: generation(trial) > before, SECONDS)
            # The other hosts wait for the same database: there is nothing to compare.
            with locked(trial, 3):
                pass
            process.join(SECONDS)
            assert process.exitcode == 0


@pytest.mark.parametrize("jump", ["+2d", "-2d"])
def test_the_clock_jumps(trials: Trials, machine: Machine, jump: str) -> None:
    with trials(f"reconciler's clock jumps by {jump}, then back", machine) as trial:
        trial.healthy(trial.settle)
        trial.spoil(1)
        with steps.watching(machine) as watch:
            command = [sys.executable, "-m", "orchestrator.cli", "reconcile", "apply", "--yes"]
            process = subprocess.Popen(
                ["faketime", "-f", jump, *command, "--host", machine.name],
                env={
                    **os.environ,
                    "MAILFLEET_CONFIG": str(trial.arena.config),
                    "FAKETIME_DONT_FAKE_MONOTONIC": "1",
                },
                cwd=ROOT,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            try:
                assert watch.reach("reload", SECONDS)
            finally:
                # Its lease stays behind, as its clock had it.
                send(family(process.pid), signal.SIGKILL)
                process.wait()
        assert trial.suffer(trial.settle).reason is None
