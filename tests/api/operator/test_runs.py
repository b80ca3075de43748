"""The history over HTTP: what a pass changed, and why one failed."""

from uuid import UUID

import pytest
from litestar.testing import TestClient
from storekit import Store

from api.dispatch import Dispatcher
from orchestrator.conditions import Reason
from orchestrator.db import writing
from orchestrator.models import Host, Run

PATH = "/operator/v1/runs"
APPLIED = UUID("01990000-0000-7000-8000-000000000001")
FAILED = UUID("01990001-0000-7000-8000-000000000002")
CHANGE = {"action": "update", "subject": "/etc/a", "why": "content differs", "diff": "-x\n+y"}

Client = TestClient[Dispatcher]


@pytest.fixture
def host(store: Store) -> Host:
    host = store.host()
    for run, reason in ((APPLIED, None), (FAILED, Reason.VALIDATION_FAILED)):
        with writing(store.engine) as session:
            session.add(
                Run(
                    id=run,
                    host_id=host.id,
                    generation=7,
                    outcome="failed" if reason else "applied",
                    reason=reason,
                    message="main.cf: bad" if reason else "",
                    plan=[CHANGE],
                    timings={"swap": 12.5},
                )
            )
    return host


def test_runs_are_listed_newest_first(operator: Client, host: Host) -> None:
    rows = operator.get(PATH, params={"host": host.name}).json()["data"]
    assert [row["id"] for row in rows] == [str(FAILED), str(APPLIED)]
    assert [row["outcome"] for row in rows] == ["failed", "applied"]
    assert rows[0]["reason"] == "ValidationFailed"
    assert "parser refused" in rows[0]["remedy"]
    assert (rows[1]["host"], rows[1]["generation"], rows[1]["changes"]) == ("mx1", 7, 1)
    assert "plan" not in rows[0]
    assert len(operator.get(PATH, params={"limit": 1}).json()["data"]) == 1


@pytest.mark.parametrize("key", [str(APPLIED), "01990000"])
def test_a_run_shows_its_diff_and_timings(operator: Client, host: Host, key: str) -> None:
    run = operator.get(f"{PATH}/{key}").json()["data"]
    assert run["id"] == str(APPLIED)
    assert run["plan"] == [CHANGE]
    assert run["timingsMs"] == {"swap": 12.5}


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        (f"{PATH}/01980000", 404, "not_found"),
        (f"{PATH}/0199", 409, "conflict"),
        (f"{PATH}/latest", 400, "validation_error"),
        (f"{PATH}?host=mx9", 404, "not_found"),
        (f"{PATH}?limit=0", 400, "validation_error"),
        (f"{PATH}?limit=many", 400, "validation_error"),
    ],
)
def test_mistakes_are_told_in_the_apis_own_form(
    operator: Client, host: Host, path: str, status: int, code: str
) -> None:
    answer = operator.get(path)
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)


def test_the_history_is_the_operators_alone(client: Client, host: Host) -> None:
    assert client.get(PATH).status_code == 401
    assert client.get(f"{PATH}/{APPLIED}").status_code == 401
