"""Every failure is answered in the dialect's envelope."""

from typing import Any

import pytest
from litestar.testing import TestClient
from storekit import Store

from api.app import create_app
from api.dispatch import Dispatcher
from orchestrator import db
from orchestrator.models import Address, Workspace

Client = TestClient[Dispatcher]


def _fails(answer: Any, status: int, code: str) -> str:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/json"
    body = answer.json()
    assert list(body) == ["error"] and set(body["error"]) == {"code", "message"}
    assert body["error"]["code"] == code
    message = body["error"]["message"]
    assert isinstance(message, str) and message
    return message


@pytest.mark.parametrize("path", ["/", "/nope", "/api/v1", "/api/v1/nope", "/api/v1me", "/api"])
def test_an_unknown_route(client: Client, path: str) -> None:
    _fails(client.get(path), 404, "not_found")
    _fails(client.post(path, json={}), 404, "not_found")


@pytest.mark.parametrize(
    ("method", "path"), [("PUT", "/me"), ("PATCH", "/domains"), ("DELETE", "/mailboxes")]
)
def test_a_wrong_method(client: Client, method: str, path: str) -> None:
    answer = client.request(method, f"/api/v1{path}")
    _fails(answer, 405, "validation_error")
    assert "GET" in answer.headers["allow"]


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "Bearer",
        "Bearer ",
        "Basic abc",
        "Bearer adbtd_live_short",
        "Bearer adbtd_live_" + "a" * 43,
        "adbtd_live_" + "a" * 43,
    ],
)
def test_a_missing_or_wrong_token(anonymous: Client, header: str | None) -> None:
    headers = {} if header is None else {"Authorization": header}
    answer = anonymous.get("/api/v1/me", headers=headers)
    _fails(answer, 401, "unauthorized")
    assert answer.headers["www-authenticate"] == "Bearer"


def test_authentication_comes_before_the_body(anonymous: Client) -> None:
    _fails(anonymous.post("/api/v1/domains", content=b"{"), 401, "unauthorized")


def test_the_schemes_name_is_case_insensitive(client: Client) -> None:
    token = client.headers["Authorization"].removeprefix("Bearer ")
    for scheme in ("bearer", "BEARER"):
        answer = client.get("/api/v1/me", headers={"Authorization": f"{scheme} {token}"})
        assert answer.status_code == 200


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b"7",
        b'"acme.com"',
        b"\xff\xfe",
        b'{"name": "acme.com"',
        b'{"name": "acme.com",}',
        b'{"name": "\xff.com"}',
        b'{"name": "\\ud800.com"}',
        b"[" * 100_000,
        b'{"name":' + b"[" * 100_000,
    ],
)
def test_a_malformed_body(client: Client, body: bytes) -> None:
    headers = {"Content-Type": "application/json"}
    answer = client.post("/api/v1/domains", content=body, headers=headers)
    _fails(answer, 400, "validation_error")


@pytest.mark.parametrize(
    ("path", "body", "named"),
    [
        ("/domains", {}, "name"),
        ("/domains", {"name": 7}, "name"),
        ("/domains", {"name": None}, "name"),
        ("/domains", {"name": "acme.com", "mode": "rent"}, "mode"),
        ("/domains", {"name": "acme.com", "mode": "buy"}, "mode"),
        ("/domains", {"name": "acme.com", "extra": 1}, "extra"),
        ("/domains", {"name": "acme"}, "name"),
        ("/domains", {"name": "acme.test"}, "name"),
        ("/domains", {"name": "acme.com\r\nx"}, "name"),
        ("/domains", {"name": "a.fleetlab.net"}, "fleet"),
        ("/ips", {}, "count"),
        ("/ips", {"count": 0}, "count"),
        ("/ips", {"count": 11}, "count"),
        ("/ips", {"count": "1"}, "count"),
        ("/ips", {"count": True}, "count"),
        ("/ips", {"count": 1.5}, "count"),
        ("/ips", {"count": 10**30}, "count"),
        ("/ips", {"count": 1, "extra": 1}, "extra"),
        ("/mailboxes", {}, "emails"),
        ("/mailboxes", {"emails": "alice@acme.com"}, "emails"),
        ("/mailboxes", {"emails": []}, "emails"),
        ("/mailboxes", {"emails": [7]}, "emails"),
        ("/mailboxes", {"emails": ["alice"]}, "emails"),
        ("/mailboxes", {"emails": ["x@acme.com", "X@acme.com"]}, "twice"),
        ("/mailboxes", {"emails": ["x@acme.com"], "extra": 1}, "extra"),
    ],
)
def test_a_body_of_the_wrong_shape(
    client: Client, fleet: Any, path: str, body: Any, named: str
) -> None:
    assert named in _fails(client.post(f"/api/v1{path}", json=body), 400, "validation_error")


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", ""])
def test_a_body_that_is_not_called_json(client: Client, fleet: Any, kind: str) -> None:
    answer = client.post(
        "/api/v1/ips", content=b'{"count": 1}', headers={"Content-Type": kind} if kind else {}
    )
    assert "Content-Type" in _fails(answer, 400, "validation_error")


def test_json_may_name_its_charset(client: Client, fleet: Any) -> None:
    headers = {"Content-Type": "Application/JSON; charset=utf-8"}
    answer = client.post("/api/v1/ips", content=b'{"count": 1}', headers=headers)
    assert answer.status_code == 200


def test_an_oversized_body(client: Client, store: Store) -> None:
    body = b'{"name": "' + b"a" * store.settings.request_size_limit + b'"}'
    headers = {"Content-Type": "application/json"}
    answer = client.post("/api/v1/domains", content=body, headers=headers)
    _fails(answer, 413, "validation_error")
    chunks = (body[start : start + 4096] for start in range(0, len(body), 4096))
    _fails(client.post("/api/v1/domains", content=chunks, headers=headers), 413, "validation_error")


def test_preconditions_are_conflicts(client: Client, store: Store, acme: Workspace) -> None:
    for path, body in (
        ("/domains", {"name": "acme.com"}),
        ("/ips", {"count": 1}),
        ("/mailboxes", {"emails": ["alice@acme.com"]}),
    ):
        _fails(client.post(f"/api/v1{path}", json=body), 409, "conflict")


def test_what_exists_is_a_conflict(client: Client, fleet: Any) -> None:
    for path, body in (
        ("/domains", {"name": "ACME.com"}),
        ("/mailboxes", {"emails": ["new@acme.com", "alice@acme.com"]}),
        ("/mailboxes", {"emails": ["alice@elsewhere.com"]}),
    ):
        _fails(client.post(f"/api/v1{path}", json=body), 409, "conflict")
    assert len(client.get("/api/v1/mailboxes").json()["data"]) == 2


def test_the_last_address_of_mailboxes_stays(client: Client, fleet: Any) -> None:
    (ip,) = client.get("/api/v1/ips").json()["data"]
    _fails(client.delete(f"/api/v1/ips/{ip['id']}"), 409, "conflict")


def test_an_empty_pool(client: Client, fleet: Any) -> None:
    answer = client.post("/api/v1/ips", json={"count": 3})
    _fails(answer, 503, "inventory_unavailable")
    assert len(client.get("/api/v1/ips").json()["data"]) == 1


def test_a_defect_tells_nothing(client: Client, store: Store, fleet: Any) -> None:
    store.settings.master_key_file.write_text("broken")
    for path, body in (
        ("/mailboxes", {"emails": ["new@acme.com"]}),
        (f"/mailboxes/mb_{fleet.alice.mailbox.id.hex}/send", _message()),
    ):
        message = _fails(client.post(f"/api/v1{path}", json=body), 500, "internal_error")
        assert message == "unexpected server error"


def test_a_lost_database_is_no_traceback(client: Client, store: Store) -> None:
    with db.writing(store.engine) as session:
        session.connection().exec_driver_sql("ALTER TABLE domain RENAME TO gone")
    answer = client.get("/api/v1/domains")
    assert _fails(answer, 500, "internal_error") == "unexpected server error"


def _message(**change: Any) -> dict[str, Any]:
    return {"to": "you@example.com", "subject": "hello", "text": "plain body", **change}


@pytest.mark.parametrize(
    "change",
    [
        {"to": None},
        {"to": []},
        {"to": "nobody"},
        {"to": ["you@example.com", 7]},
        {"to": "you@example.com, x@example.com"},
        {"to": "you@example.com\r\nRCPT TO:<x@example.com>"},
        {"cc": "x@example.com"},
        {"bcc": ["x@example.com\n"]},
        {"subject": None},
        {"subject": "hi\r\nBcc: x@example.com"},
        {"text": None},
        {"fromName": "Alice\r\nX-Evil: 1"},
        {"from_name": "Alice"},
        {"from": "mallory@other.com"},
        {"replyTo": ["alice@acme.com"]},
        {"replyTo": "x"},
        {"attachments": [{}]},
        {"attachments": [{"filename": "a", "contentType": "text/plain", "content": "?"}]},
        {"templateId": "tpl_x"},
        {"variables": {}},
        {"sendAt": "2026-01-01T00:00:00"},
        {"sendAt": "2026-01-01T00:00:00Z"},
        {"sendAt": "9999-12-31T23:59:59.999-23:59"},
    ],
)
def test_a_message_that_can_not_be_sent(client: Client, fleet: Any, change: Any) -> None:
    path = f"/api/v1/mailboxes/mb_{fleet.alice.mailbox.id.hex}/send"
    _fails(client.post(path, json=_message(**change)), 400, "validation_error")


@pytest.mark.parametrize(
    "query",
    [
        "limit=0",
        "limit=101",
        "limit=x",
        "limit=",
        "limit=1.5",
        "before=0",
        "before=-1",
        "before=x",
        f"before={2**32}",
        "limit=" + "9" * 5000,
    ],
)
def test_a_list_with_bad_parameters(client: Client, fleet: Any, query: str) -> None:
    path = f"/api/v1/mailboxes/mb_{fleet.alice.mailbox.id.hex}/messages?{query}"
    _fails(client.get(path), 400, "validation_error")


@pytest.mark.parametrize("query", ["markSeen=2", "markSeen=true", "markSeen="])
def test_a_fetch_with_bad_parameters(client: Client, fleet: Any, query: str) -> None:
    path = f"/api/v1/mailboxes/mb_{fleet.alice.mailbox.id.hex}/messages/1?{query}"
    _fails(client.get(path), 400, "validation_error")


def test_a_uid_that_can_not_be(client: Client, fleet: Any) -> None:
    path = f"/api/v1/mailboxes/mb_{fleet.alice.mailbox.id.hex}/messages"
    for uid in ("0", "-1", str(2**32)):
        _fails(client.get(f"{path}/{uid}"), 400, "validation_error")
    for uid in ("x", "1.5", "9" * 5000):
        _fails(client.get(f"{path}/{uid}"), 404, "not_found")


@pytest.fixture
def unreachable(store: Store, fleet: Any) -> str:
    """Alice's path, when nothing listens where her mailbox lives."""
    with db.writing(store.engine) as session:
        session.get_one(Address, fleet.alice.address.id).ip = "127.0.0.1"
    return f"/api/v1/mailboxes/mb_{fleet.alice.mailbox.id.hex}"


def test_an_smtp_server_that_refuses(client: Client, unreachable: str) -> None:
    answer = client.post(f"{unreachable}/send", json=_message())
    assert "refused" in _fails(answer, 502, "smtp_error")


def test_an_imap_server_that_refuses(client: Client, unreachable: str) -> None:
    for path in (
        "/messages",
        "/messages?limit=1&before=5",
        "/messages/1",
        "/messages/1?markSeen=1",
        "/messages/1/attachments/1",
        "/messages/1/raw",
        "/folders",
    ):
        assert "refused" in _fails(client.get(unreachable + path), 502, "imap_error")


def test_folder_names_are_checked(client: Client, unreachable: str) -> None:
    for folder in ("", "a%0d%0ab", "%00"):
        answer = client.get(f"{unreachable}/messages?folder={folder}")
        _fails(answer, 400, "validation_error")


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "/domains/{domain}", None),
        ("DELETE", "/domains/{domain}", None),
        ("DELETE", "/ips/{ip}", None),
        ("GET", "/mailboxes/{mailbox}", None),
        ("DELETE", "/mailboxes/{mailbox}", None),
        ("POST", "/mailboxes/{mailbox}/send", _message()),
        ("GET", "/mailboxes/{mailbox}/messages", None),
        ("GET", "/mailboxes/{mailbox}/messages/1", None),
        ("POST", "/mailboxes/{mailbox}/send/batch", {"messages": [_message()]}),
        ("GET", "/mailboxes/{mailbox}/folders", None),
        ("GET", "/mailboxes/{mailbox}/messages/1/attachments/1", None),
        ("GET", "/mailboxes/{mailbox}/messages/1/raw", None),
    ],
)
def test_foreign_and_malformed_ids_are_not_found(  # noqa: PLR0917 - pytest passes by name
    client: Client, store: Store, fleet: Any, method: str, path: str, body: Any
) -> None:
    (domain,) = client.get("/api/v1/domains").json()["data"]
    (ip,) = client.get("/api/v1/ips").json()["data"]
    mailbox = client.get("/api/v1/mailboxes").json()["data"][0]
    own = {"domain": domain["id"], "ip": ip["id"], "mailbox": mailbox["id"]}
    stranger = {"Authorization": f"Bearer {store.key(store.workspace('stranger'))}"}
    foreign = client.request(method, "/api/v1" + path.format(**own), json=body, headers=stranger)
    _fails(foreign, 404, "not_found")
    wrong = [
        {name: id_.partition("_")[2] for name, id_ in own.items()},
        {name: "xx_" + id_.partition("_")[2] for name, id_ in own.items()},
        {name: id_.upper() for name, id_ in own.items()},
        {name: id_[:-1] for name, id_ in own.items()},
        {name: id_ + "%00" for name, id_ in own.items()},
        {"domain": "dom_x", "ip": "ip_", "mailbox": "mb_" + "0" * 32},
        {"domain": ip["id"], "ip": mailbox["id"], "mailbox": domain["id"]},
    ]
    for ids in wrong:
        answer = client.request(method, "/api/v1" + path.format(**ids), json=body)
        _fails(answer, 404, "not_found")
    # Nothing of it changed anything for the owner.
    assert client.get("/api/v1/mailboxes").json()["data"][0] == mailbox


def test_lists_show_nothing_of_others(client: Client, store: Store, fleet: Any) -> None:
    stranger = {"Authorization": f"Bearer {store.key(store.workspace('stranger'))}"}
    for path in ("/domains", "/ips", "/mailboxes"):
        assert client.get(f"/api/v1{path}", headers=stranger).json() == {"data": []}


def test_without_a_database_it_is_not_healthy(anonymous: Client, store: Store) -> None:
    assert anonymous.get("/healthz").json() == {"status": "ok"}
    lost = store.settings.database_url.replace("mailfleet.db", "no/such/directory.db")
    settings = type(store.settings)(database_url=lost)
    with TestClient(create_app(settings)) as other:
        answer = other.get("/healthz")
    assert (answer.status_code, answer.json()) == (503, {"status": "unavailable"})
