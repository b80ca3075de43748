"""The operator's view: only with the token, only reading, with what to do about each fault."""

from pathlib import Path

import msgspec
import pytest
from litestar.testing import TestClient
from storekit import Store

from api.app import create_app
from api.dispatch import Dispatcher
from orchestrator.conditions import Reason, Status, Type
from orchestrator.db import writing
from orchestrator.errors import ConfigurationError
from orchestrator.services import conditions

TOKEN = "operator-token-of-32-characters!"
PATH = "/operator/v1/status"

Client = TestClient[Dispatcher]


def test_every_condition_comes_with_its_remedy(store: Store, operator: Client) -> None:
    host = store.host()
    with writing(store.engine) as session:
        conditions.set_(
            session, host.id, Type.REACHABLE, Status.FALSE, Reason.HOST_KEY_CHANGED, "another key"
        )
    answer = operator.get(PATH)
    assert answer.status_code == 200
    data = answer.json()["data"]
    assert data["converged"] is False
    seen = next(row for row in data["conditions"] if row["condition"] == "Reachable")
    assert (seen["kind"], seen["subject"], seen["status"]) == ("host", host.name, "False")
    assert seen["reason"] == "HostKeyChanged"
    assert seen["message"] == "another key"
    assert "mailfleet hosts rekey" in seen["remedy"]


def test_an_empty_fleet_is_converged(operator: Client) -> None:
    assert operator.get(PATH).json() == {"data": {"converged": True, "conditions": []}}


@pytest.mark.parametrize("header", [None, "Bearer wrong", f"Basic {TOKEN}", "Bearer é"])
def test_without_the_token_nothing_is_told(operator: Client, header: str | None) -> None:
    del operator.headers["Authorization"]
    headers = {} if header is None else {b"Authorization": header.encode()}
    answer = operator.get(PATH, headers=headers)
    assert answer.status_code == 401
    assert answer.json()["error"]["code"] == "unauthorized"


def test_a_tenants_key_is_not_the_operators(client: Client) -> None:
    assert client.get(PATH).status_code == 401


def test_it_only_reads(operator: Client) -> None:
    assert operator.post(PATH, json={}).status_code == 405
    assert operator.get("/operator/v1/nothing").json()["error"]["code"] == "not_found"


@pytest.mark.parametrize("text", ["", "short"])
def test_a_token_that_can_be_guessed_is_refused_at_start(
    store: Store, tmp_path: Path, text: str
) -> None:
    (tmp_path / "operator.token").write_text(text)
    settings = msgspec.structs.replace(
        store.settings, operator_token_file=tmp_path / "operator.token"
    )
    with pytest.raises(ConfigurationError, match="characters"):
        create_app(settings)
