"""Two reconcilers on PostgreSQL share the lab's hosts: either will do, none is in the way."""

import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from databases import PostgreSQL
from labkit import Machine, Operator, wait_for
from planekit import Plane, takeover
from processkit import family, paused, send
from sqlmodel import Session, col, select

from orchestrator.conditions import Reason
from orchestrator.db import reading, writing
from orchestrator.models import Host, Run, utcnow
from orchestrator.services import certificates
from orchestrator.spec import certificate_of

pytestmark = pytest.mark.lab

LEASE = 10.0

Reconciler = subprocess.Popen[bytes]


@pytest.fixture(scope="module")
def plane(
    operator: Operator, postgresql: PostgreSQL, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Plane]:
    directory: Path = tmp_path_factory.mktemp("plane")
    settings = {"lease_seconds": LEASE, "log_level": "debug"}
    with takeover(operator, directory, postgresql.empty(), **settings) as made:
        start(made)
        start(made)
        yield made


@pytest.fixture
def machine(machines: dict[str, Machine]) -> Machine:
    """One is enough: what is tried is the control plane, not the Debian."""
    return machines["mx2"]


def start(plane: Plane) -> None:
    """Start one more reconciler, and wait until it is at work."""
    before = ready(plane)
    plane.start_reconciler()
    wait_for("the reconciler", lambda: ready(plane) > before, 120)


def ready(plane: Plane) -> int:
    return plane.log.read_text().count("reconciling") if plane.log.exists() else 0


def host(session: Session, machine: Machine) -> Host:
    return session.exec(select(Host).where(Host.name == machine.name)).one()


def renew(plane: Plane, machine: Machine) -> None:
    """Change what is wanted: another certificate, which the next pass makes."""
    with writing(plane.engine) as session:
        certificates.renew(session, host(session, machine))


def converged(plane: Plane, machine: Machine) -> bool:
    """Whether no change is left, and the host has what the database says."""
    with reading(plane.engine) as session:
        row = host(session, machine)
        wanted = certificate_of(session, row.id)
        idle = row.lease_owner is None and row.failures == 0 and row.due_at > utcnow()
    assert wanted is not None
    return idle and machine.sh("cat /etc/mailfleet/tls/cert.pem").strip() == wanted.chain.strip()


def generation(plane: Plane, machine: Machine) -> int:
    """The number that was given to a push last."""
    with reading(plane.engine) as session:
        return host(session, machine).generation


def in_force(machine: Machine) -> int:
    """The number of the push whose files the host has."""
    return int(machine.sh("cat /var/lib/mailfleet/generation"))


def passes(plane: Plane, machine: Machine) -> int:
    """How many came to an end, whatever it was."""
    return plane.log.read_text().count(f"pass over {machine.name}: ")


def runs_from(plane: Plane, machine: Machine, generation: int) -> list[Run]:
    """The pushes of that number and later ones, in their order."""
    with reading(plane.engine) as session:
        rows = select(Run).where(
            Run.host_id == host(session, machine).id, Run.generation >= generation
        )
        return list(session.exec(rows.order_by(col(Run.generation))))


def made_by(run: Run, reconciler: Reconciler) -> bool:
    return run.owner.split(":")[1] == str(reconciler.pid)


@contextmanager
def pushing(plane: Plane, machine: Machine) -> Iterator[tuple[Reconciler, Reconciler, int]]:
    """A push that has its number and gets no further within the block.

    Gives the reconciler that makes it, the other one, and the number.
    """
    wait_for("quiet", lambda: converged(plane, machine), 120)
    workers = {one.pid: family(one.pid)[1:] for one in plane.reconcilers}
    before = generation(plane, machine)
    with paused([pid for pids in workers.values() for pid in pids]):
        renew(plane, machine)
        wait_for("a push", lambda: generation(plane, machine) > before)
        with reading(plane.engine) as session:
            owner = str(host(session, machine).lease_owner).split(":")[1]
        holder = next(one for one in plane.reconcilers if str(one.pid) == owner)
        other = next(one for one in plane.reconcilers if one is not holder)
        send(workers[other.pid], signal.SIGCONT)
        yield holder, other, before + 1


def test_a_change_converges_by_whichever(plane: Plane, machine: Machine) -> None:
    before = generation(plane, machine)
    renew(plane, machine)
    wait_for("the change", lambda: runs_from(plane, machine, before + 1))
    wait_for("convergence", lambda: converged(plane, machine))
    assert [run.outcome for run in runs_from(plane, machine, before + 1)] == ["applied"]


def test_a_paused_reconciler_is_replaced_and_then_changes_nothing(
    plane: Plane, machine: Machine
) -> None:
    with pushing(plane, machine) as (late, other, number), paused([late.pid]):
        renew(plane, machine)
        wait_for("the other's push", lambda: runs_from(plane, machine, number), LEASE + 60)
        wait_for("convergence", lambda: converged(plane, machine))
    wait_for("the late push", lambda: len(runs_from(plane, machine, number)) == 2)
    refused, applied = runs_from(plane, machine, number)
    assert (refused.generation, refused.reason) == (number, Reason.FENCED)
    assert made_by(refused, late)
    assert applied.outcome == "applied"
    assert made_by(applied, other)
    wait_for("convergence", lambda: converged(plane, machine))
    assert len(runs_from(plane, machine, number)) == 2


def test_a_killed_reconciler_is_replaced_within_one_lease(plane: Plane, machine: Machine) -> None:
    with pushing(plane, machine) as (killed, other, number):
        send(family(killed.pid), signal.SIGKILL)
        killed.wait()
        plane.reconcilers.remove(killed)
        wait_for("the other's push", lambda: runs_from(plane, machine, number), LEASE + 20)
    wait_for("convergence", lambda: converged(plane, machine))
    (applied,) = runs_from(plane, machine, number)
    assert (applied.generation, applied.outcome) == (number + 1, "applied")
    assert made_by(applied, other)
    start(plane)


def test_a_database_that_restarts_during_a_push(
    plane: Plane, machine: Machine, postgresql: PostgreSQL
) -> None:
    with pushing(plane, machine) as (_, _, number):
        postgresql.stop()
    try:
        wait_for("the push", lambda: in_force(machine) == number)
    finally:
        postgresql.start()
    before = passes(plane, machine)
    wait_for("convergence", lambda: converged(plane, machine))
    # This server commits asynchronously: it may have lost its last moments, and push once more.
    assert passes(plane, machine) - before <= 2
    assert in_force(machine) in {number, number + 1}
