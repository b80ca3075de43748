"""A fleet of simulated hosts over real SSH: what one of them does is no other's affair."""

from collections.abc import Collection, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import ExitStack, contextmanager
from pathlib import Path
from uuid import UUID

import msgspec
import pytest
from sqlalchemy.exc import OperationalError
from sqlmodel import col, select, update

from bench import seed
from bench.simfleet import SimFleet
from orchestrator import db
from orchestrator.conditions import Reason
from orchestrator.control import ControlPlane
from orchestrator.models import Host, Mailbox
from orchestrator.results import UNSEEN
from orchestrator.scheduler import THREADS
from orchestrator.secrets import Vault
from orchestrator.services import hosts

#: Longer than any of it lasts: nothing here waits for it.
FOREVER = 300.0


@contextmanager
def running(
    directory: Path, fleet: SimFleet, silent: Collection[int] = ()
) -> Iterator[ControlPlane]:
    """A control plane and its converged fleet; silent hosts never answer a command."""
    settings = msgspec.structs.replace(seed.installation(directory), ssh_command_timeout=FOREVER)
    simulated = seed.populate(settings, fleet)
    for number in silent:
        simulated[fleet.addresses[number]].silent = True
    fleet.start(simulated)
    engine = db.connect(settings.database_url)
    with ControlPlane(engine, settings, Vault(settings.master_key_file)) as control:
        yield control
    engine.dispose()


def host_ids(control: ControlPlane) -> list[UUID]:
    with db.reading(control.engine) as session:
        return list(session.exec(select(Host.id).order_by(col(Host.id))))


def test_hosts_that_never_answer_delay_no_other(tmp_path: Path) -> None:
    silent = {0, 3, 7}
    with ExitStack() as stack, ThreadPoolExecutor(THREADS) as threads:
        fleet = stack.enter_context(SimFleet(50))
        with running(tmp_path, fleet, silent) as control:
            passes = [threads.submit(control.reconciler.reconcile, i) for i in host_ids(control)]
            others = [one for number, one in enumerate(passes) if number not in silent]
            done, late = wait(others, FOREVER / 2)
            assert not late
            assert all(one.result().reason is None for one in done)
            assert not any(passes[number].done() for number in silent)
            # Their machine goes away, and with it the wait.
            stack.close()
            assert {passes[number].result().reason for number in silent} <= UNSEEN


def test_a_change_travels_alone_and_is_seen_to_have_arrived(tmp_path: Path) -> None:
    with SimFleet(2) as fleet, running(tmp_path, fleet) as control:
        changed, other = host_ids(control)
        assert control.reconciler.reconcile(changed).plan.empty
        with db.writing(control.engine) as session:
            box = select(Mailbox.id).where(Mailbox.email == "box3@sim0.example")
            quota = update(Mailbox).where(col(Mailbox.id) == session.exec(box).one())
            session.exec(quota.values(quota_mib=77))
        pushed = control.reconciler.reconcile(changed)
        assert [change.subject for change in pushed.plan.changes] == ["/etc/dovecot/users"]
        assert pushed.reason is None
        for host in (changed, other):
            assert control.reconciler.reconcile(host).plan.empty


def test_a_host_whose_debian_was_changed_is_taken_for_what_it_is(tmp_path: Path) -> None:
    """As after an upgrade in place: the rows say one Debian, the host another."""
    with SimFleet(2) as fleet, running(tmp_path, fleet) as control:
        for host, was, is_ in zip(
            host_ids(control), ("debian13", "debian12"), ("debian12", "debian13"), strict=True
        ):
            with db.writing(control.engine) as session:
                session.get_one(Host, host).os = was
            planned = control.reconciler.plan(host)
            assert planned.reason is None
            assert planned.plan.empty
            with db.writing(control.engine) as session:
                session.get_one(Host, host).os = was
            assert control.reconciler.reconcile(host).reason is None
            with db.reading(control.engine) as session:
                assert session.get_one(Host, host).os == is_


def test_what_was_claimed_is_let_go_of_though_no_pass_began(tmp_path: Path) -> None:
    """A host that is paused, or can't be read, between its claim and its pass is not kept."""
    with SimFleet(1) as fleet, running(tmp_path, fleet) as control:
        leases, (host,) = control.reconciler.leases, host_ids(control)
        assert leases.claim([host]) == [host]
        with db.writing(control.engine) as session:
            hosts.pause(session, session.get_one(Host, host))
        assert control.reconciler.reconcile(host).reason is Reason.PAUSED
        with db.writing(control.engine) as session:
            hosts.resume(session, session.get_one(Host, host))
        assert leases.claim([host]) == [host]
        with control.engine.begin() as connection:
            connection.exec_driver_sql("ALTER TABLE host RENAME TO gone")
        with pytest.raises(OperationalError):
            control.reconciler.reconcile(host)
        with control.engine.begin() as connection:
            connection.exec_driver_sql("ALTER TABLE gone RENAME TO host")
        assert control.reconciler.reconcile(host).reason is None
