"""The plan: what differs, in words and diffs, without secrets."""

import dataclasses

import pytest

from orchestrator import plan as planning
from orchestrator.hosts.probe import AccountState, FileState, Observed, UnitState
from orchestrator.hostspec import RenderedFile
from orchestrator.plan import Action
from orchestrator.rendering import requirements

REQUIRED = requirements.of("debian13")
TEXT = RenderedFile("/etc/postfix/main.cf", "a = 1\n", "root", "root", 0o644, "postfix")
SECRET = RenderedFile(
    "/etc/dovecot/users", "alice:hunter2\n", "root", "dovecot", 0o640, None, secret=True
)
TABLE = RenderedFile(
    "/etc/postfix/senders", "k v\n", "root", "root", 0o644, None, lookup_table=True
)
FILES = [TEXT, SECRET, TABLE]


def converged() -> Observed:
    digests = planning.daemon_digests(FILES)
    return Observed(
        os="debian13",
        user=0,
        applied=dict(digests),
        files={f.path: FileState(f.digest, f.mode, f.owner, f.group) for f in FILES},
        indexes={TABLE.path},
        directories={
            path: FileState("", int(mode, 8), owner, group)
            for path, owner, group, mode in REQUIRED.directories
        },
        accounts={
            "vmail": AccountState(5000, 5000, frozenset({"vmail"})),
            "postfix": AccountState(101, 101, frozenset({"postfix", "opendkim"})),
        },
        units={unit: UnitState(active=True, enabled=True) for unit in REQUIRED.units.values()},
        packages=dict.fromkeys(REQUIRED.packages, "1"),
    )


def subjects(observed: Observed) -> list[tuple[Action, str]]:
    plan = planning.compare(FILES, REQUIRED, observed)
    return [(change.action, change.subject) for change in plan.changes]


def test_a_converged_host_has_nothing_to_do() -> None:
    assert planning.compare(FILES, REQUIRED, converged()).empty


def test_a_bare_host_gets_everything() -> None:
    plan = planning.compare(FILES, REQUIRED, Observed(os="debian13", user=0))
    assert plan.packages == REQUIRED.packages
    assert plan.accounts
    assert set(plan.files) == set(FILES)
    assert "postfix" in plan.daemons


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"digest": "0" * 64}, "content differs"),
        ({"mode": 0o666}, "is 666 root:root"),
        ({"owner": "nobody"}, "is 644 nobody:root"),
    ],
)
def test_a_file_edited_by_hand_is_drift(change: dict[str, object], why: str) -> None:
    observed = converged()
    observed.files[TEXT.path] = dataclasses.replace(observed.files[TEXT.path], **change)  # type: ignore[arg-type]
    plan = planning.compare(FILES, REQUIRED, observed)
    assert [(c.action, c.subject, c.why) for c in plan.changes] == [(Action.UPDATE, TEXT.path, why)]


def test_a_stopped_daemon_is_started() -> None:
    observed = converged()
    observed.units[REQUIRED.units["postfix"]] = UnitState(active=False, enabled=True)
    assert subjects(observed) == [(Action.START, "postfix")]


def test_a_daemon_that_missed_its_reload_is_reloaded() -> None:
    observed = converged()
    observed.applied["postfix"] = "older"
    assert subjects(observed) == [(Action.RELOAD, "postfix")]


def test_a_stale_index_is_built_again() -> None:
    observed = converged()
    observed.indexes.clear()
    assert subjects(observed) == [(Action.UPDATE, TABLE.path)]


def test_a_leftover_in_a_directory_of_ours_is_deleted() -> None:
    observed = converged()
    observed.files["/etc/opendkim/keys/gone"] = FileState("x", 0o600, "opendkim", "opendkim")
    assert subjects(observed) == [(Action.DELETE, "/etc/opendkim/keys/gone")]


def test_diffs_are_unified_and_never_show_a_secret() -> None:
    plan = planning.compare(FILES, REQUIRED, Observed(os="debian13", user=0))
    explained = planning.with_diffs(plan, {TEXT.path: "a = 0\n"})
    shown = {change.subject: change.diff for change in explained.changes}
    assert "-a = 0" in shown[TEXT.path]
    assert "+a = 1" in shown[TEXT.path]
    assert shown[SECRET.path] == planning.REDACTED
    assert "hunter2" not in repr(explained)
