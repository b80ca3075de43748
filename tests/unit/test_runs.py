"""The history: newest first, named by the beginning of an id, and not kept for ever."""

from datetime import timedelta
from uuid import UUID

import pytest
from sqlmodel import select
from storekit import Store

from orchestrator import results
from orchestrator.conditions import Reason
from orchestrator.db import reading, writing
from orchestrator.errors import Conflict, Invalid, NotFound
from orchestrator.models import Host, Run, utcnow
from orchestrator.plan import Action, Change, Plan
from orchestrator.results import Result
from orchestrator.services import runs

FIRST = UUID("01990000-0000-7000-8000-000000000001")
SECOND = UUID("01990000-0000-7abc-8000-000000000002")
THIRD = UUID("01990000-ffff-7000-8000-000000000003")


def keep(store: Store, host: Host, *ids: UUID) -> None:
    began = utcnow()
    with writing(store.engine) as session:
        for age, run in enumerate(ids):
            session.add(
                Run(
                    id=run,
                    created_at=began + timedelta(seconds=age),
                    host_id=host.id,
                    generation=age + 1,
                    outcome="failed" if age % 2 else "applied",
                    reason=Reason.DISK_FULL if age % 2 else None,
                )
            )


def ids(store: Store, **arguments: object) -> list[UUID]:
    with reading(store.engine) as session:
        return [run.id for run, _ in runs.list_(session, **arguments)]  # type: ignore[arg-type]


def test_the_newest_comes_first_and_a_host_has_its_own(store: Store) -> None:
    mx1, mx2 = store.host("mx1"), store.host("mx2", "198.51.100.12")
    keep(store, mx1, FIRST, THIRD)
    keep(store, mx2, SECOND)
    assert ids(store, host="mx1") == [THIRD, FIRST]
    assert ids(store, host="mx2") == [SECOND]
    assert set(ids(store)) == {FIRST, SECOND, THIRD}
    assert ids(store, host="mx1", limit=1) == [THIRD]


@pytest.mark.parametrize("limit", [0, -1, runs.MOST + 1])
def test_a_limit_has_limits(store: Store, limit: int) -> None:
    with pytest.raises(Invalid):
        ids(store, limit=limit)


def test_runs_of_no_host_are_not_found(store: Store) -> None:
    with pytest.raises(NotFound):
        ids(store, host="mx9")


@pytest.mark.parametrize("key", [str(SECOND), SECOND.hex, "01990000-0000-7a", "0199000000007A"])
def test_a_run_is_found_by_the_beginning_of_its_id(store: Store, key: str) -> None:
    keep(store, store.host(), FIRST, SECOND, THIRD)
    with reading(store.engine) as session:
        run, host = runs.get(session, key)
    assert (run.id, host) == (SECOND, "mx1")
    assert (run.outcome, run.reason) == ("failed", Reason.DISK_FULL)


@pytest.mark.parametrize(
    ("key", "error"),
    [("0199", Conflict), ("01990000-0000", Conflict), ("0198", NotFound), ("019", Invalid)]
    + [(key, Invalid) for key in ("", "latest", "0199%", SECOND.hex + "0")],
)
def test_what_names_no_one_run_is_refused(store: Store, key: str, error: type[Exception]) -> None:
    keep(store, store.host(), FIRST, SECOND, THIRD)
    with reading(store.engine) as session, pytest.raises(error):
        runs.get(session, key)


def test_only_the_newest_of_each_host_are_kept(store: Store) -> None:
    mx1, mx2 = store.host("mx1"), store.host("mx2", "198.51.100.12")
    keep(store, mx1, FIRST, THIRD)
    keep(store, mx2, SECOND)
    with writing(store.engine) as session:
        runs.prune(session, 1)
    with reading(store.engine) as session:
        assert set(session.exec(select(Run.id))) == {SECOND, THIRD}


def record(store: Store, host: Host, result: Result) -> None:
    with writing(store.engine) as session:
        results.record(session, session.get_one(Host, host.id), result, utcnow(), 60)


def test_a_failure_before_the_push_is_told_once_while_it_lasts(store: Store) -> None:
    host = store.host()
    for id_ in (FIRST, SECOND):
        record(store, host, Result("mx1", reason=Reason.UNREACHABLE, message="no route", run=id_))
    record(store, host, Result("mx1", run=THIRD))
    assert ids(store) == [FIRST]
    with reading(store.engine) as session:
        run, _ = runs.get(session, str(FIRST))
    assert (run.outcome, run.reason, run.message) == ("failed", Reason.UNREACHABLE, "no route")


def test_a_run_gets_the_timings_of_its_whole_pass(store: Store) -> None:
    host = store.host()
    keep(store, host, FIRST)
    plan = Plan(changes=(Change(Action.UPDATE, "/etc/postfix/main.cf"),))
    record(store, host, Result("mx1", plan, run=FIRST, timings={"look": 9.0, "total": 50.0}))
    with reading(store.engine) as session:
        assert runs.get(session, str(FIRST))[0].timings == {"look": 9.0, "total": 50.0}
