"""API keys: what each may do, from where, until when, and how they are made and revoked."""

from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from asgikit import ask
from clockkit import Clock
from litestar.testing import TestClient
from storekit import Store

from api.adbtd.app import HANDLERS
from api.dispatch import Dispatcher
from orchestrator import db
from orchestrator.errors import Forbidden
from orchestrator.models import ApiKey, Bucket, KeyScope, Workspace, utcnow
from orchestrator.services import keys
from orchestrator.services.keys import Limits
from orchestrator.services.rights import Right

Client = TestClient[Dispatcher]

MESSAGE = {"to": "you@example.com", "subject": "s", "text": "t"}


def _bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def _ask(client: Client, method: str, path: str, token: str, body: Any = None) -> Any:
    return client.request(method, f"/api/v1{path}", json=body, headers=_bearer(token))


def _code(answer: Any) -> tuple[int, str | None]:
    error = answer.json().get("error")
    return answer.status_code, error and error["code"]


def test_every_route_declares_a_right() -> None:
    for handler in HANDLERS:
        assert isinstance(handler.opt.get("right"), Right), handler


def _routes(fleet: Any, mailbox: str) -> list[tuple[str, str, Any]]:
    return [
        ("GET", "/me", None),
        ("GET", "/domains", None),
        ("POST", "/domains", {"name": "second.com"}),
        ("POST", "/mailboxes", {"emails": ["carol@acme.com"]}),
        ("GET", f"/mailboxes/{mailbox}", None),
        ("POST", f"/mailboxes/{mailbox}/send", {**MESSAGE, "to": "nobody"}),
        ("GET", f"/mailboxes/{mailbox}/messages?folder=", None),
        ("DELETE", f"/domains/dom_{fleet.domain.id.hex}", None),
        ("GET", "/keys", None),
        ("POST", "/keys", {"name": "x", "scope": "nonsense"}),
        ("DELETE", f"/keys/key_{uuid4().hex}", None),
    ]


#: What each is answered where it may be done; mail is refused before a server is asked.
DONE = [200, 200, 200, 200, 200, 400, 400, 200, 200, 400, 404]


@pytest.mark.parametrize(
    ("scope", "bound", "may"),
    [
        ("full", False, range(11)),
        ("read", False, [0, 1, 4, 6, 8]),
        ("send", False, [0, 5]),
        ("full", True, [0, 5, 6]),
        ("read", True, [0, 6]),
        ("send", True, [0, 5]),
    ],
)
def test_a_key_may_do_what_its_scope_says(  # noqa: PLR0917 - pytest passes by name
    client: Client, store: Store, acme: Workspace, fleet: Any, scope: str, bound: bool, may: Any
) -> None:
    alice = fleet.alice.mailbox.id
    token = store.key(acme, limits=Limits(KeyScope(scope), alice if bound else None))
    for number, (method, path, body) in enumerate(_routes(fleet, f"mb_{alice.hex}")):
        answer = _ask(client, method, path, token, body)
        if number in may:
            assert answer.status_code == DONE[number], (method, path, answer.text)
        else:
            assert _code(answer) == (403, "forbidden"), (method, path)
            assert "one mailbox" in answer.text or f"scope {scope}" in answer.text


def test_for_a_mailboxs_key_there_are_no_others(
    client: Client, store: Store, acme: Workspace, fleet: Any
) -> None:
    token = store.key(acme, limits=Limits(mailbox_id=fleet.alice.mailbox.id))
    for mailbox in (f"mb_{fleet.bob.mailbox.id.hex}", f"mb_{uuid4().hex}", "mb_x"):
        for method, path in (("POST", "/send"), ("GET", "/messages"), ("GET", "")):
            answer = _ask(client, method, f"/mailboxes/{mailbox}{path}", token)
            assert _code(answer) == (404, "not_found")


def test_a_key_outlives_its_mailbox_without_gaining_rights(
    client: Client, store: Store, acme: Workspace, fleet: Any
) -> None:
    path = f"/mailboxes/mb_{fleet.alice.mailbox.id.hex}"
    token = store.key(acme, limits=Limits(mailbox_id=fleet.alice.mailbox.id))
    client.delete(f"/api/v1{path}").raise_for_status()
    assert _code(_ask(client, "GET", "/domains", token)) == (403, "forbidden")
    assert _code(_ask(client, "GET", f"{path}/messages", token)) == (404, "not_found")


def test_an_expired_key_is_refused(
    client: Client, store: Store, acme: Workspace, clock: Clock
) -> None:
    ends = clock.now + timedelta(days=90)
    token = store.key(acme, limits=Limits(expires_at=ends))
    clock.now = ends - timedelta(seconds=1)
    assert _ask(client, "GET", "/me", token).status_code == 200
    clock.now = ends
    assert _code(_ask(client, "GET", "/me", token)) == (401, "unauthorized")


@pytest.mark.parametrize(
    ("networks", "address", "status"),
    [
        (["198.51.100.0/24"], "198.51.100.7", 200),
        (["198.51.100.0/24"], "::ffff:198.51.100.7", 200),
        (["198.51.100.0/24"], "198.51.101.7", 403),
        (["198.51.100.0/24"], "2001:db8::7", 403),
        (["2001:db8::/32", "198.51.100.9"], "2001:db8::7", 200),
        (["2001:db8::/32", "198.51.100.9"], "198.51.100.9", 200),
        (["2001:db8::/32", "198.51.100.9"], "198.51.100.8", 403),
        (["0.0.0.0/0", "::/0"], "testclient", 403),
        ([], "testclient", 200),
    ],
)
def test_a_key_is_good_from_its_networks(  # noqa: PLR0917 - pytest passes by name
    client: Client,
    store: Store,
    acme: Workspace,
    networks: list[str],
    address: str,
    status: int,
) -> None:
    token = store.key(acme, limits=Limits(allowed_ips=networks))
    bearer = [(b"Authorization", f"Bearer {token}".encode())]
    answer = ask(client.app, "GET", "/api/v1/me", bearer, address=address)
    assert answer.status_code == status
    if status == 403:
        assert "address" in answer.json()["error"]["message"]


def _make(client: Client, **body: Any) -> Any:
    return client.post("/api/v1/keys", json={"name": "new", **body})


def test_a_key_through_the_api(client: Client, fleet: Any) -> None:
    bound = f"mb_{fleet.alice.mailbox.id.hex}"
    answer = _make(
        client,
        scope="send",
        mailboxId=bound,
        expiresAt="2126-04-01T14:00:00+02:00",
        allowedIps=["198.51.100.7", "2001:db8::/32"],
    )
    made = answer.json()["data"]
    token = made.pop("token")
    assert token.startswith("adbtd_live_" + made["prefix"])
    assert made["id"].startswith("key_") and made["createdAt"].endswith("Z")
    assert {name: made[name] for name in made.keys() - {"id", "prefix", "createdAt"}} == {
        "name": "new",
        "scope": "send",
        "mailboxId": bound,
        "expiresAt": "2126-04-01T12:00:00.000Z",
        "allowedIps": ["198.51.100.7/32", "2001:db8::/32"],
        "lastUsedAt": None,
    }
    listed = client.get("/api/v1/keys")
    assert token not in listed.text
    assert made in listed.json()["data"]
    gone = client.delete(f"/api/v1/keys/{made['id']}")
    assert gone.json() == {"data": {"revoked": made["id"]}}
    assert made["id"] not in client.get("/api/v1/keys").text
    assert _code(_ask(client, "GET", "/me", token)) == (401, "unauthorized")


@pytest.mark.parametrize(
    "body",
    [
        {"name": ""},
        {"name": "a\nb"},
        {"scope": "admin"},
        {"expiresAt": "2020-01-01T00:00:00Z"},
        {"expiresAt": "2126-01-01T00:00:00"},
        {"expiresAt": "tomorrow"},
        {"allowedIps": ["198.51.100.7/24"]},
        {"allowedIps": ["nonsense"]},
        {"allowedIps": ["::ffff:198.51.100.0/120"]},
        {"allowedIps": ["198.51.100.7"] * 101},
        {"rates": {"send": "600/100"}},
    ],
)
def test_a_key_that_can_not_be(client: Client, body: Any) -> None:
    assert _code(_make(client, **body)) == (400, "validation_error")


def test_a_key_makes_none_with_more_rights(client: Client, store: Store, acme: Workspace) -> None:
    ends = utcnow() + timedelta(days=1)
    own = store.key(acme, limits=Limits(expires_at=ends), rates={Bucket.SEND: "1/1"})
    client.headers.update(_bearer(own))
    later = (ends + timedelta(days=1)).isoformat()
    assert _code(_make(client, expiresAt=later)) == (403, "forbidden")
    made = _make(client).json()["data"]
    assert made["expiresAt"] is not None
    with db.reading(store.engine) as session:
        assert session.get_one(ApiKey, _id(client, made["token"])).rates == {"send": "1/1"}


@pytest.mark.parametrize(
    ("asked", "given"),
    [
        ([], ["198.51.100.0/24", "2001:db8::/32"]),
        (["198.51.100.7", "2001:db8:1::/48"], ["198.51.100.7/32", "2001:db8:1::/48"]),
        (["198.51.100.7", "203.0.113.7"], None),
        (["198.51.0.0/16"], None),
        (["::/0"], None),
    ],
)
def test_a_key_makes_none_for_more_networks(
    store: Store, acme: Workspace, asked: list[str], given: list[str] | None
) -> None:
    with db.writing(store.engine) as session:
        limits = Limits(allowed_ips=["198.51.100.0/24", "2001:db8::/32"])
        maker, _ = keys.create(session, acme, "maker", limits)
        if given is None:
            with pytest.raises(Forbidden):
                keys.create(session, acme, "new", Limits(allowed_ips=asked), maker=maker)
        else:
            made, _ = keys.create(session, acme, "new", Limits(allowed_ips=asked), maker=maker)
            assert made.allowed_ips == given


def _id(client: Client, token: str) -> UUID:
    data = client.get("/api/v1/me", headers=_bearer(token)).json()["data"]
    return UUID(hex=data["apiKey"]["id"].removeprefix("key_"))


def test_the_last_use_is_noted_once_a_minute(client: Client, clock: Clock) -> None:
    def used() -> str:
        (key,) = client.get("/api/v1/keys").json()["data"]
        return str(key["lastUsedAt"])

    client.get("/api/v1/me")
    first = used()
    assert first != "None"
    clock.now += timedelta(seconds=59)
    used()
    assert used() == first
    clock.now += timedelta(seconds=1)
    used()
    assert used() > first
