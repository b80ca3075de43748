"""Idempotency-Key: what is sent again is not done again, and is answered alike."""

import asyncio
from datetime import timedelta
from typing import Any

import httpx
import pytest
from asgikit import ask
from clockkit import Clock
from litestar.testing import TestClient
from sqlmodel import select
from storekit import Store

from api.dispatch import Dispatcher
from orchestrator import db
from orchestrator.models import Bucket, RecordedRequest, Workspace
from orchestrator.services import idempotency

Client = TestClient[Dispatcher]


def _post(client: Client, path: str, body: Any, name: str = "one", **headers: str) -> Any:
    sent = {"Idempotency-Key": name, **headers}
    return client.post(f"/api/v1{path}", json=body, headers=sent)


def _replayed(answer: Any) -> bool:
    return bool(answer.headers.get("Idempotency-Replayed") == "true")


def _conflict(answer: Any, says: str) -> None:
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "conflict")
    assert says in answer.json()["error"]["message"]


def test_it_is_done_once_and_answered_alike(client: Client, store: Store) -> None:
    first, second = (_post(client, "/keys", {"name": "new"}) for _ in range(2))
    assert (first.status_code, _replayed(first)) == (200, False)
    assert (second.status_code, _replayed(second)) == (200, True)
    assert second.content == first.content
    assert second.headers["content-type"] == first.headers["content-type"]
    assert len(client.get("/api/v1/keys").json()["data"]) == 2
    # The token stands in no column as it is.
    token = first.json()["data"]["token"]
    with db.reading(store.engine) as session:
        row = session.exec(select(RecordedRequest)).one()
    assert token not in repr(row)
    assert token in store.vault.decrypt(row.body)


@pytest.mark.parametrize(
    ("path", "body"),
    [("/keys", {"name": "other"}), ("/keys?x=1", {"name": "new"}), ("/ips", {"name": "new"})],
)
def test_another_request_under_the_same_name(client: Client, path: str, body: Any) -> None:
    assert _post(client, "/keys", {"name": "new"}).status_code == 200
    _conflict(_post(client, path, body), "another request")
    assert len(client.get("/api/v1/keys").json()["data"]) == 2


def test_names_are_each_keys_own(client: Client, store: Store, acme: Workspace) -> None:
    bearer = f"Bearer {store.key(acme)}"
    assert not _replayed(_post(client, "/keys", {"name": "new"}))
    assert not _replayed(_post(client, "/keys", {"name": "other"}, Authorization=bearer))


def test_a_refusal_is_answered_alike(client: Client, store: Store, acme: Workspace) -> None:
    refused = _post(client, "/domains", {"name": "acme.com"})
    assert refused.status_code == 409
    store.pool(store.host(), "198.51.100.21")
    store.assign(acme)
    again = _post(client, "/domains", {"name": "acme.com"})
    assert (again.status_code, again.content) == (409, refused.content)
    assert _replayed(again)
    assert _post(client, "/domains", {"name": "acme.com"}, "two").status_code == 200


def test_what_failed_here_or_came_too_fast_is_done_anew(
    client: Client, store: Store, acme: Workspace, fleet: Any, clock: Clock
) -> None:
    body = {"count": 3}
    assert _post(client, "/ips", body).status_code == 503
    store.pool(store.host("mx2", "198.51.100.12"), "198.51.100.31", "198.51.100.32")
    assert _post(client, "/ips", body).status_code == 200
    slow = {"Authorization": f"Bearer {store.key(acme, rates=dict.fromkeys(Bucket, '60/1'))}"}
    assert client.get("/api/v1/me", headers=slow).status_code == 200
    assert _post(client, "/keys", {"name": "new"}, "two", **slow).status_code == 429
    clock.now += timedelta(seconds=1)
    answer = _post(client, "/keys", {"name": "new"}, "two", **slow)
    assert (answer.status_code, _replayed(answer)) == (200, False)


@pytest.mark.parametrize("name", ["", "x" * 256, "a\tb", "caf\u00e9"])
def test_a_name_that_can_not_be(client: Client, name: str) -> None:
    headers = [(b"Idempotency-Key", name.encode("latin-1"))]
    answer = client.post("/api/v1/keys", json={"name": "new"}, headers=headers)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "validation_error")
    assert "Idempotency-Key" in answer.json()["error"]["message"]
    assert len(client.get("/api/v1/keys").json()["data"]) == 1


def test_the_longest_name_will_do_and_two_will_not(client: Client) -> None:
    assert _post(client, "/keys", {"name": "new"}, "~ " + "x" * 253).status_code == 200
    bearer = client.headers["Authorization"].encode()
    headers = [
        (b"Authorization", bearer),
        (b"Content-Type", b"application/json"),
        (b"Idempotency-Key", b"a"),
        (b"Idempotency-Key", b"b"),
    ]
    answer = ask(client.app, "POST", "/api/v1/keys", headers, b'{"name": "new"}')
    assert answer.status_code == 400


def test_without_a_name_everything_is_done(client: Client) -> None:
    for _ in range(2):
        assert not _replayed(client.post("/api/v1/keys", json={"name": "new"}))
    assert len(client.get("/api/v1/keys").json()["data"]) == 3


def test_other_methods_do_not_mind_it(client: Client, store: Store) -> None:
    assert client.get("/api/v1/me", headers={"Idempotency-Key": ""}).status_code == 200
    with db.reading(store.engine) as session:
        assert session.exec(select(RecordedRequest)).first() is None


def test_an_oversized_body_is_refused_and_not_kept(client: Client, store: Store) -> None:
    answer = _post(client, "/keys", {"name": "x" * store.settings.request_size_limit})
    assert (answer.status_code, answer.json()["error"]["code"]) == (413, "validation_error")
    with db.reading(store.engine) as session:
        assert session.exec(select(RecordedRequest)).first() is None


def test_an_answer_that_can_not_be_kept_is_given_all_the_same(
    client: Client, store: Store, fleet: Any
) -> None:
    store.settings.master_key_file.write_text("broken")
    assert _post(client, "/ips", {"count": 1}).status_code == 200
    assert len(client.get("/api/v1/ips").json()["data"]) == 2
    _conflict(_post(client, "/ips", {"count": 1}), "under way")


def test_after_a_day_the_name_is_free(client: Client, store: Store, clock: Clock) -> None:
    first = _post(client, "/keys", {"name": "new"})
    clock.now += timedelta(seconds=86399)
    assert _replayed(_post(client, "/keys", {"name": "new"}))
    clock.now += timedelta(seconds=1)
    again = _post(client, "/keys", {"name": "other"})
    assert (again.status_code, _replayed(again)) == (200, False)
    assert again.content != first.content
    with db.writing(store.engine) as session:
        idempotency.forget(session, store.settings, clock.now + timedelta(days=1))
        assert session.exec(select(RecordedRequest)).first() is None


def test_of_two_at_a_time_one_is_done(client: Client, fleet: Any) -> None:
    async def ask() -> list[httpx.Response]:
        headers = {"Authorization": client.headers["Authorization"], "Idempotency-Key": "one"}
        transport = httpx.ASGITransport(client.app)
        async with httpx.AsyncClient(
            transport=transport, base_url="http://here", headers=headers
        ) as there:
            body = {"emails": ["carol@acme.com"]}
            calls = [there.post("/api/v1/mailboxes", json=body) for _ in range(8)]
            return await asyncio.gather(*calls)

    answers = asyncio.run(ask())
    done = [answer for answer in answers if answer.status_code == 200]
    assert sum(not _replayed(answer) for answer in done) == 1
    assert len({answer.content for answer in done}) == 1
    for answer in answers:
        if answer.status_code != 200:
            _conflict(answer, "under way")


def test_a_request_whose_process_died_is_taken_over(
    client: Client, store: Store, clock: Clock
) -> None:
    first = _post(client, "/keys", {"name": "new"})
    with db.writing(store.engine) as session:
        # As it stands when the process is killed before it could write the answer down.
        row = session.exec(select(RecordedRequest)).one()
        row.status, row.body = None, ""
        dead = idempotency.Claim(row.id, row.claim)
    clock.now += timedelta(seconds=59)
    _conflict(_post(client, "/keys", {"name": "new"}), "under way")
    with db.writing(store.engine) as session:
        idempotency.renew(session, dead, clock.now)
    clock.now += timedelta(seconds=59)
    _conflict(_post(client, "/keys", {"name": "new"}), "under way")
    clock.now += timedelta(seconds=1)
    taken = _post(client, "/keys", {"name": "new"})
    assert (taken.status_code, _replayed(taken)) == (200, False)
    assert taken.content != first.content
    # The first was only slow: its answer comes too late.
    with db.writing(store.engine) as session:
        late = idempotency.Answer(200, "application/json", first.content)
        idempotency.settle(session, store.vault, dead, late)
        idempotency.release(session, dead)
    assert _post(client, "/keys", {"name": "new"}).content == taken.content
