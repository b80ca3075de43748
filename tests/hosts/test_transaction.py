"""Apply is a transaction: whatever fails, what was in force stays in force."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from labkit import Machine, Operator, wait_for

from orchestrator.conditions import Reason
from orchestrator.hosts.bundle import Bundle
from orchestrator.hosts.jobs import Job, Outcome
from orchestrator.hosts.workers import Workers
from orchestrator.hostspec import RenderedFile

pytestmark = pytest.mark.lab

OLD = "/etc/mailfleet-test/old"
NEW = "/etc/mailfleet-test/new"

Push = Callable[..., Outcome]


@pytest.fixture(scope="module")
def workers() -> Iterator[Workers]:
    made = Workers(2)
    yield made
    made.close()


@pytest.fixture
def push(
    operator: Operator, lab: dict[str, Any], machine: Machine, workers: Workers
) -> Iterator[Push]:
    """Push two files to the paused machine as the next generation, with one part changed."""
    operator.ok("mailfleet", "hosts", "pause", machine.name)
    machine.sh(f"mkdir -p /etc/mailfleet-test && echo before > {OLD} && chmod 0600 {OLD}")
    generation = int(machine.sh("cat /var/lib/mailfleet/generation"))

    def work(
        ahead: int = 1, validate: str = "true", reload: str = "true", smoke: str = "true"
    ) -> Outcome:
        files = [
            RenderedFile(OLD, "after\n", "root", "root", 0o644, None),
            RenderedFile(NEW, "after\n", "root", "root", 0o644, None),
        ]
        bundle = Bundle(
            generation + ahead, files, ["/etc/mailfleet-test/gone"], {}, validate, reload, smoke
        )
        ssh = {
            "ssh_hostname": machine.described["address"],
            "ssh_port": 22,
            "ssh_user": "root",
            "ssh_key": lab["ssh_key"],
            "ssh_known_hosts_file": lab["known_hosts"],
            "ssh_strict_host_key_checking": "yes",
        }
        job = Job(machine.name, ssh, 5, 60, (), (), (), (), bundle.pack())
        return workers.run(job)

    yield work
    machine.sh("rm -rf /etc/mailfleet-test")
    machine.sh(f"echo {generation} > /var/lib/mailfleet/generation")
    operator.ok("mailfleet", "hosts", "resume", machine.name)


def nothing_changed(machine: Machine) -> bool:
    state = machine.sh(f"cat {OLD}; stat -c %a {OLD}; ls /etc/mailfleet-test /var/lib/mailfleet")
    before, mode, *names = state.split()
    leftovers = [name for name in names if name.startswith("stage") or "new" in name]
    return (before, mode, leftovers) == ("before", "600", [])


def test_a_good_generation_comes_into_force(push: Push, machine: Machine) -> None:
    machine.sh("touch /etc/mailfleet-test/gone")
    outcome = push()
    assert outcome.reason is None, outcome.message
    assert set(outcome.timings) >= {"prepare", "validate", "swap", "reload", "smoke", "commit"}
    assert machine.sh("cd /etc/mailfleet-test && cat old new && stat -c %a old && ls").split() == [
        *("after", "after", "644", "new", "old")
    ]


def test_what_a_parser_refuses_never_comes_into_force(push: Push, machine: Machine) -> None:
    outcome = push(validate="echo unknown parameter >&2; exit 1")
    assert outcome.reason is Reason.VALIDATION_FAILED
    assert "unknown parameter" in outcome.message
    assert nothing_changed(machine)


@pytest.mark.parametrize("step", ["reload", "smoke"])
def test_what_does_not_work_is_taken_back(push: Push, machine: Machine, step: str) -> None:
    outcome = push(**{step: f"test $(cat {OLD}) = before || exit 1"})
    assert outcome.reason is Reason.SMOKE_TEST_FAILED
    assert nothing_changed(machine)


@pytest.mark.parametrize("ahead", [0, -1])
def test_a_stale_reconciler_is_fenced_on_the_host(push: Push, machine: Machine, ahead: int) -> None:
    assert push(ahead=ahead).reason is Reason.FENCED
    assert nothing_changed(machine)


def test_two_pushes_at_once_do_not_mix(push: Push, machine: Machine) -> None:
    machine.sh("setsid flock /run/mailfleet.lock sleep 13 > /dev/null 2>&1 &")
    wait_for(
        "the lock", lambda: machine.run("flock", "-n", "/run/mailfleet.lock", "true").returncode
    )
    assert push().reason is Reason.BUSY
    assert nothing_changed(machine)


def test_a_push_that_is_cut_off_ends_by_itself(
    push: Push, machine: Machine, tmp_path: Path
) -> None:
    """The connection dies while the host works: it still ends with all of it or nothing."""
    outcome = push(smoke="pkill -f '^sshd(-session)?: root@notty' || true; sleep 1")
    assert outcome.reason is not None
    wait_for("the end of the push", lambda: machine.sh("cat /etc/mailfleet-test/old") == "after\n")
    wait_for("the tidying", lambda: "stage" not in machine.sh("ls /var/lib/mailfleet"))
