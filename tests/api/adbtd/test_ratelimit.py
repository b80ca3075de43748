"""Rates as clients meet them: 429, Retry-After, three buckets, and nothing for a wrong token."""

from datetime import timedelta
from typing import Any

import pytest
from clockkit import Clock
from litestar.testing import TestClient
from storekit import Store

from api.app import create_app
from api.dispatch import Dispatcher
from orchestrator.models import Bucket, Workspace
from orchestrator.settings import Settings

Client = TestClient[Dispatcher]


@pytest.fixture
def client(store: Store, anonymous: Client, acme: Workspace) -> Client:
    """A program with a key that has no rates of its own."""
    anonymous.headers["Authorization"] = f"Bearer {store.key(acme)}"
    return anonymous


def _until_limited(client: Client, method: str, path: str, **kwargs: Any) -> tuple[int, Any]:
    for passed in range(100):
        answer = client.request(method, f"/api/v1{path}", **kwargs)
        if answer.status_code == 429:
            return passed, answer
    raise AssertionError("never limited")


def test_the_documented_rates(client: Client, clock: Clock, fleet: Any) -> None:
    mailbox = f"/mailboxes/mb_{fleet.alice.mailbox.id.hex}"
    for method, path, burst, wait in (
        ("GET", "/me", 60, 1),
        ("POST", f"{mailbox}/send", 10, 2),
        ("GET", f"{mailbox}/messages?folder=", 30, 2),
    ):
        passed, answer = _until_limited(client, method, path)
        assert passed == burst
        assert answer.json()["error"]["code"] == "rate_limited"
        assert answer.headers["Retry-After"] == str(wait)
        assert answer.headers["content-type"] == "application/json"
    # Lists and single messages are one bucket; everything else another.
    assert client.get(f"/api/v1{mailbox}/messages/1?markSeen=2").status_code == 429
    assert client.get("/api/v1/domains").status_code == 429
    clock.now += timedelta(seconds=2)
    assert client.get(f"/api/v1{mailbox}/messages/1?markSeen=2").status_code == 400
    assert client.get(f"/api/v1{mailbox}/messages/1?markSeen=2").status_code == 429
    assert [client.get("/api/v1/me").status_code for _ in range(3)] == [200, 200, 429]


def test_it_comes_before_the_body(client: Client) -> None:
    _until_limited(client, "GET", "/me")
    answer = client.post("/api/v1/domains", content=b"{")
    assert answer.status_code == 429


def test_what_is_not_let_in_costs_nothing(client: Client, anonymous: Client) -> None:
    wrong = {"Authorization": "Bearer adbtd_live_" + "a" * 43}
    assert {client.get("/api/v1/me", headers=wrong).status_code for _ in range(70)} == {401}
    assert client.get("/api/v1/me").status_code == 200


def test_it_outlives_the_process(client: Client, store: Store, clock: Clock) -> None:
    _until_limited(client, "GET", "/me")
    with TestClient(create_app(store.settings, clock)) as other:
        other.headers.update(client.headers)
        assert other.get("/api/v1/me").status_code == 429


def test_a_key_may_have_rates_of_its_own(client: Client, store: Store, acme: Workspace) -> None:
    token = store.key(acme, rates={Bucket.DEFAULT: "30/3"})
    passed, answer = _until_limited(
        client, "GET", "/me", headers={"Authorization": f"Bearer {token}"}
    )
    assert (passed, answer.headers["Retry-After"]) == (3, "2")


def test_the_settings_say_how_fast(store: Store, acme: Workspace, clock: Clock) -> None:
    settings: Settings = type(store.settings)(
        database_url=store.settings.database_url, rate_default="1/2"
    )
    with TestClient(create_app(settings, clock)) as client:
        client.headers["Authorization"] = f"Bearer {store.key(acme)}"
        passed, answer = _until_limited(client, "GET", "/me")
    assert (passed, answer.headers["Retry-After"]) == (2, "60")


@pytest.mark.parametrize("path", ["/api/v1/docs", "/api/v1/docs/openapi.json"])
def test_the_description_is_for_everybody(client: Client, path: str) -> None:
    _until_limited(client, "GET", "/me")
    assert client.get(path).status_code == 200
