"""Hosts that fail in every way: they keep serving, recover in two passes, and delay nobody."""

import random
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from chaos import faults
from chaos.arena import Arena
from chaos.conftest import Trials
from chaos.cutting import MARK, cutter
from labkit import Machine

from orchestrator import db
from orchestrator.conditions import Reason
from orchestrator.models import Host, Release, ReleaseState
from orchestrator.services import releases

pytestmark = pytest.mark.lab

#: A connection for a pass carries about 20 kB to the host and back.
CUTS = 6
BYTES = 40_000


def test_the_connection_is_cut_at_random_offsets(trials: Trials, machine: Machine) -> None:
    address = machine.described["address"]
    with trials("SSH cut at random offsets", machine) as trial:
        trial.healthy(trial.settle)
        for seed in range(CUTS):
            trial.spoil(seed)
            # Nothing of the connections that are warm already: they don't come by.
            trial.arena.control.fleet.pool.close()
            with cutter(address) as cut, faults.diverted(machine, cut.port, MARK):
                cut.limit = random.Random(seed).randrange(BYTES)
                trial.suffer(trial.settle)
            trial.converge()


def test_the_disk_is_full(trials: Trials, machine: Machine) -> None:
    with trials("disk full", machine) as trial:
        trial.healthy(trial.settle)
        trial.spoil(1)
        with faults.disk_full(machine):
            assert trial.suffer(trial.settle).reason is Reason.DISK_FULL


@pytest.mark.parametrize("path", ["/etc", "/var/lib/mailfleet"])
def test_the_file_system_is_read_only(trials: Trials, machine: Machine, path: str) -> None:
    with trials(f"{path} read-only", machine) as trial:
        trial.healthy(trial.settle)
        trial.spoil(1)
        with faults.read_only(machine, path):
            assert trial.suffer(trial.settle).reason is Reason.READ_ONLY


def test_permission_is_denied(trials: Trials, machine: Machine) -> None:
    with trials("login without root's rights", machine) as trial:
        trial.healthy(trial.settle)
        trial.spoil(1)
        with faults.without_root(machine) as user:
            trial.arena.change_host(machine.name, ssh_user=user)
            try:
                assert trial.suffer(trial.settle).reason is Reason.PERMISSION_DENIED
            finally:
                trial.arena.change_host(machine.name, ssh_user="root")


@pytest.mark.parametrize("warm", [True, False], ids=["warm", "cold"])
def test_the_host_is_frozen(trials: Trials, machine: Machine, warm: bool) -> None:
    connection = "a connection open" if warm else "no connection open"
    with trials(f"host frozen, {connection}", machine) as trial:
        trial.healthy(trial.settle)
        trial.spoil(1)
        if not warm:
            trial.arena.control.fleet.pool.close()
        with trial.excuse(), faults.frozen(machine):
            assert trial.suffer(trial.settle).reason in {Reason.TIMED_OUT, Reason.UNREACHABLE}


@pytest.mark.parametrize("warm", [True, False], ids=["warm", "cold"])
def test_the_host_is_black_holed(trials: Trials, machine: Machine, warm: bool) -> None:
    connection = "a connection open" if warm else "no connection open"
    with trials(f"host black-holed, {connection}", machine) as trial:
        trial.healthy(trial.settle)
        trial.spoil(1)
        if not warm:
            trial.arena.control.fleet.pool.close()
        with faults.lost([machine.described["address"]], 22):
            assert trial.suffer(trial.settle).reason in {Reason.TIMED_OUT, Reason.UNREACHABLE}


UNITS = {
    "mx1": {"postfix": "postfix@-.service", "dovecot": "dovecot.service"},
    "mx2": {"postfix": "postfix.service", "dovecot": "dovecot.service"},
}


@pytest.mark.parametrize("daemon", ["postfix", "dovecot", "opendkim"])
def test_a_daemon_refuses_its_configuration(trials: Trials, machine: Machine, daemon: str) -> None:
    unit = UNITS[machine.name].get(daemon, f"{daemon}.service")
    with trials(f"{daemon} refuses to reload", machine) as trial:
        trial.healthy(trial.settle)
        trial.spoil(1)
        with faults.refusing(machine, unit):
            assert trial.suffer(trial.settle).reason is Reason.SMOKE_TEST_FAILED


MISTAKES = {
    "main.cf": "no_such_parameter_of_postfix = yes",
    "dovecot.conf": "protocol imap {",
    "opendkim.conf": "NoSuchSetting yes",
}


@contextmanager
def mistaken(arena: Arena, name: str, template: str, line: str) -> Iterator[None]:
    """A host of which one template has a line more."""
    with db.writing(arena.control.engine) as session:
        host = session.get_one(Host, arena.hosts[name])
        good = host.release_id
        assert good is not None
        texts = releases.texts(session, good)
        wrong = {
            path: f"{text}\n{line}\n" if path.endswith(f"{template}.j2") else text
            for path, text in texts.items()
        }
        # Of a number that no other host ever gets.
        release = Release(number=-1, digest="wrong", templates=wrong, state=ReleaseState.SUPERSEDED)
        session.add(release)
        session.flush()
        host.release_id = release.id
    try:
        yield
    finally:
        arena.change_host(name, release_id=good, seen_release_id=good)
        with db.writing(arena.control.engine) as session:
            session.delete(session.get_one(Release, release.id))


def test_templates_render_what_the_daemons_refuse(trials: Trials, machine: Machine) -> None:
    with trials("template renders an invalid configuration", machine) as trial:
        trial.healthy(trial.settle)
        for template, line in MISTAKES.items():
            with mistaken(trial.arena, machine.name, template, line):
                assert trial.suffer(trial.settle).reason is Reason.VALIDATION_FAILED
            trial.converge()
