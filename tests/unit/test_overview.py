"""What `reconcile status --watch` tells: transitions, and only when something changed."""

from storekit import Store

from orchestrator import overview
from orchestrator.conditions import Reason, Status, Type
from orchestrator.db import reading, writing
from orchestrator.models import Host
from orchestrator.overview import Line, Transition
from orchestrator.services import conditions, hosts


def look(store: Store) -> tuple[object, list[Line]]:
    with reading(store.engine) as session:
        return overview.stamp(session), overview.lines(session)


def test_what_did_not_change_is_not_told(store: Store) -> None:
    store.observe(store.host(), Type.CONVERGED)
    before = look(store)
    assert look(store) == before
    assert overview.transitions(before[1], before[1]) == []


def test_a_status_that_changes_is_told_with_what_it_was(store: Store) -> None:
    host = store.host()
    store.observe(host, Type.CONVERGED)
    stamp, before = look(store)
    with writing(store.engine) as session:
        conditions.set_(
            session, host.id, Type.CONVERGED, Status.FALSE, Reason.DISK_FULL, "no space"
        )
    later, after = look(store)
    assert later != stamp
    (change,) = overview.transitions(before, after)
    assert (change.was, change.line.status) == (Status.TRUE, Status.FALSE)
    text = "host mx1 Converged: True -> False (DiskFull): no space"
    assert str(change).endswith(text)
    assert change.as_dict()["reason"] == "DiskFull"


def test_subjects_that_come_and_go_are_told(store: Store) -> None:
    stamp, nothing = look(store)
    host = store.host()
    later, there = look(store)
    assert later != stamp
    assert all(change.was is None for change in overview.transitions(nothing, there))
    with writing(store.engine) as session:
        hosts.remove(session, session.get_one(Host, host.id))
    gone = overview.transitions(there, look(store)[1])
    assert gone
    assert all(change.gone for change in gone)
    assert "Reachable: Unknown -> gone" in str(gone[0])


def test_the_first_look_tells_everything(store: Store) -> None:
    store.host()
    _, lines = look(store)
    assert overview.transitions([], lines) == [Transition(line, None) for line in lines]
