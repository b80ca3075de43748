"""The plan: what differs, in words and diffs, without secrets."""

import dataclasses

import pytest

from orchestrator import plan as planning
from orchestrator.hosts.probe import AccountState, FileState, Observed, UnitState
from orchestrator.hostspec import MailStore, RenderedFile
from orchestrator.plan import Action, UnsafePlan
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
        applied={**digests, planning.SESSIONS: planning.sessions_digest(FILES, REQUIRED)},
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


def served(count: int, wanted: int) -> planning.Plan:
    """The plan for a host that serves so many mailboxes and shall serve that many."""
    names = [f"box{n}@acme.com" for n in range(count)]
    content = "# Managed\n" + "".join(f"{name}:hash::::\n" for name in names[:wanted])
    users = dataclasses.replace(SECRET, content=content)
    observed = converged()
    observed.entries[SECRET.path] = count
    return planning.compare([TEXT, users, TABLE], REQUIRED, observed)


@pytest.mark.parametrize(
    ("count", "wanted", "safe"),
    [(100, 100, True), (100, 70, True), (100, 69, False), (10, 0, False), (9, 0, True)],
)
def test_a_plan_that_removes_much_is_unsafe(count: int, wanted: int, safe: bool) -> None:
    plan = served(count, wanted)
    if safe:
        plan.raise_if_unsafe(0.3)
    else:
        with pytest.raises(UnsafePlan, match=f"{count - wanted} of {count} entries"):
            plan.raise_if_unsafe(0.3)
        plan.raise_if_unsafe(1.0)


def test_what_somebody_asked_for_is_no_reason_to_stop() -> None:
    plan = served(100, 50)
    names = [f"box{n}@acme.com" for n in range(50, 100)]
    plan.without_asked({SECRET.path: names}, set(names[:40])).raise_if_unsafe(0.3)
    half_asked = plan.without_asked({SECRET.path: names}, set(names[:10]))
    with pytest.raises(UnsafePlan, match=r"40 of 100 .*\(box60@acme.com, .* …\)"):
        half_asked.raise_if_unsafe(0.3)


def test_one_set_of_mailboxes_in_place_of_another_is_seen_by_name() -> None:
    plan = served(100, 50)
    names = [f"box{n}@acme.com" for n in range(100)]
    assert plan.without_asked({SECRET.path: names}, set()).removals[0].removes == 100


def test_sessions_that_a_crash_left_are_cut_by_the_next_push() -> None:
    observed = converged()
    observed.applied[planning.SESSIONS] = ""
    plan = planning.compare(FILES, REQUIRED, observed)
    assert [(c.action, c.subject) for c in plan.changes] == [(Action.CUT, "sessions")]
    assert plan.sessions and plan.carried and not plan.files
    # Where the password file changes, that says it.
    del observed.files[SECRET.path]
    assert subjects(observed) == [(Action.CREATE, SECRET.path)]


def test_mail_of_a_deleted_mailbox_goes_unless_it_was_seen_gone() -> None:
    mail, observed = [MailStore("al@acme.com"), MailStore("bo@acme.com", "a1")], converged()
    plan = planning.compare(FILES, REQUIRED, observed, mail)
    assert [(c.action, c.subject) for c in plan.changes] == [
        (Action.DELETE, "/var/vmail/acme.com/al"),
        (Action.DELETE, "/var/vmail/a1/acme.com/bo"),
    ]
    assert plan.carried
    observed.purged = {"/var/vmail/acme.com/al"}
    assert planning.compare(FILES, REQUIRED, observed, mail).purges == (mail[1],)
    observed.purged.add("/var/vmail/a1/acme.com/bo")
    assert planning.compare(FILES, REQUIRED, observed, mail).empty
