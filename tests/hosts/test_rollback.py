"""Going back to an earlier generation: a push like any other, from what the host kept."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest
from labkit import Machine, Operator, Tenant, wait_for
from sqlalchemy import Engine

from orchestrator.cli.app import USAGE
from orchestrator.db import reading
from orchestrator.leases import Leases
from orchestrator.services import hosts

pytestmark = pytest.mark.lab

USERS = "/etc/dovecot/users"
EMAIL = "rolled-back@acme-mail.net"


def generation(machine: Machine) -> int:
    return int(machine.sh("cat /var/lib/mailfleet/generation"))


def knows(machine: Machine) -> bool:
    # Every mail host of the workspace knows the mailbox, wherever it lives.
    return EMAIL in machine.sh(f"cat {USERS} /etc/postfix/tables/mailboxes")


@pytest.fixture
def changed(operator: Operator, machine: Machine, tenant: Tenant) -> Iterator[int]:
    """A mailbox came into force after the generation that this gives."""
    operator.run("reconcile", "apply", "--yes")
    before = generation(machine)
    tenant.data("POST", "/mailboxes", {"emails": [EMAIL]})
    wait_for("the new mailbox", lambda: knows(machine))
    wait_for("its generation", lambda: generation(machine) > before)
    yield before
    tenant.data("DELETE", f"/mailboxes/{tenant.mailbox(EMAIL)['id']}")
    operator.ok("mailfleet", "hosts", "resume", machine.name)
    wait_for("the end of the mailbox", lambda: not knows(machine))


def test_an_earlier_generation_comes_into_force_again(
    operator: Operator, machine: Machine, changed: int
) -> None:
    present = generation(machine)
    said = operator.ok("reconcile", "rollback", machine.name, "--to", str(changed))
    assert f"rolled back to generation {changed}" in said
    assert not knows(machine)
    assert machine.sh("stat -c '%a %U:%G' " + USERS).strip() == "640 root:dovecot"
    assert generation(machine) > present
    assert next(
        h for h in operator.json("mailfleet", "hosts", "list") if h["name"] == machine.name
    )["paused"]
    # From there, back to where it was: the rollback itself can be undone.
    operator.ok("reconcile", "rollback", machine.name, "--to", str(present))
    assert knows(machine)


def test_it_waits_until_another_pass_has_ended(
    operator: Operator, engine: Engine, machine: Machine, changed: int
) -> None:
    with reading(engine) as session:
        host = hosts.get_by_name(session, machine.name).id
    leases = Leases(engine, seconds=10)
    try:
        wait_for("the lease", lambda: leases.claim([host]), every=0.02)
        with ThreadPoolExecutor(1) as thread:
            command = ("reconcile", "rollback", machine.name, "--to", str(changed))
            done = thread.submit(operator.run, *command)
            wait_for("the host paused", partial(is_paused, engine, machine.name))
            with pytest.raises(TimeoutError):
                done.result(timeout=1)
            with leases.hold(host):
                pass
            assert done.result(timeout=60).returncode == 0
    finally:
        leases.close()
    assert not knows(machine)


def is_paused(engine: Engine, name: str) -> bool:
    with reading(engine) as session:
        return hosts.get_by_name(session, name).paused


def test_a_generation_that_was_never_in_force_is_refused(
    operator: Operator, machine: Machine, changed: int
) -> None:
    # What stood there before the first one: a host that was never Mailfleet's.
    done = operator.run("reconcile", "rollback", machine.name, "--to", "0")
    assert done.returncode == USAGE
    assert knows(machine)
    ahead = generation(machine) + 1000
    done = operator.run("reconcile", "rollback", machine.name, "--to", str(ahead), "--json")
    assert done.returncode == 1
    assert "ApplyFailed" in done.stdout
    assert f"generation {ahead} was not in force here" in done.stdout
    assert knows(machine)
