"""Hostile values through the API: refused, or stored as what they are."""

import json
import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from databases import KINDS, Databases
from hostilekit import HOSTILE, quoted
from hypothesis import given, settings
from hypothesis import strategies as st
from litestar.testing import TestClient
from sqlmodel import select
from storekit import QUICK, Store

from api.app import create_app
from api.dispatch import Dispatcher
from orchestrator import db
from orchestrator.models import Address, Mailbox
from orchestrator.services import keys, workspaces

Client = TestClient[Dispatcher]


@pytest.fixture(scope="module", params=KINDS)
def store(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    databases: Databases,
    few_keys: None,
) -> Iterator[Store]:
    directory: Path = tmp_path_factory.mktemp("store")
    with databases.migrated(request.param, directory) as url:
        made = Store(directory, url)
        yield made
        made.close()


@pytest.fixture(scope="module")
def client(store: Store) -> Iterator[Client]:
    acme = store.workspace()
    store.pool(store.host(), "198.51.100.21")
    (address,) = store.assign(acme)
    store.domain(acme)
    store.mailboxes(acme, "alice@acme.com")
    with db.writing(store.engine) as session:
        # Where nothing listens: what is accepted ends in smtp_error, and goes nowhere.
        session.get_one(Address, address.id).ip = "127.0.0.1"
    with TestClient(create_app(store.settings), raise_server_exceptions=False) as client:
        client.headers["Authorization"] = f"Bearer {store.key(acme, rates=QUICK)}"
        yield client


def _post(client: Client, path: str, body: Any) -> Any:
    # json.dumps keeps lone surrogates as escapes: such bytes may well be sent.
    return client.post(
        f"/api/v1{path}",
        content=json.dumps(body).encode(),
        headers={"Content-Type": "application/json"},
    )


@settings(deadline=None, max_examples=60)
@given(HOSTILE)
def test_no_hostile_mailbox_is_made(client: Client, text: str) -> None:
    for email in (text, f"{text}@acme.com", f"alice@{text}", f"alice@acme.com{text}"):
        assert _post(client, "/mailboxes", {"emails": [email]}).status_code in {200, 400, 409}
    for row in client.get("/api/v1/mailboxes").json()["data"]:
        assert re.fullmatch(r"[a-z0-9_][a-z0-9_+='.-]*@acme\.com", row["email"])


@settings(deadline=None, max_examples=40)
@given(HOSTILE)
def test_no_hostile_domain_is_added(client: Client, text: str) -> None:
    for name in (text, f"{text}.com", f"acme.com{text}"):
        assert _post(client, "/domains", {"name": name}).status_code in {200, 400, 409}
    for row in client.get("/api/v1/domains").json()["data"]:
        assert re.fullmatch(r"[a-z0-9-]+(\.[a-z0-9-]+)+", row["name"])


@settings(deadline=None, max_examples=60)
@given(st.sampled_from(["to", "subject", "fromName", "replyTo"]), HOSTILE)
def test_no_hostile_header_reaches_the_server(client: Client, field: str, text: str) -> None:
    mailbox = client.get("/api/v1/mailboxes").json()["data"][0]["id"]
    body = {"to": "you@example.com", "subject": "s", "text": "t", field: text}
    answer = _post(client, f"/mailboxes/{mailbox}/send", body)
    assert answer.status_code in {400, 502}
    if any(character in text for character in "\r\n\0\u2028\u0085"):
        assert answer.status_code == 400


@settings(deadline=None, max_examples=60)
@given(HOSTILE)
def test_no_hostile_alias_is_made(client: Client, text: str) -> None:
    path = f"/mailboxes/{client.get('/api/v1/mailboxes').json()['data'][0]['id']}/aliases"
    for email in (text, f"{text}@acme.com", f"alice@{text}", f"sales@acme.com{text}"):
        assert _post(client, path, {"email": email}).status_code in {200, 400, 409}
    for row in client.get(f"/api/v1{path}").json()["data"]:
        # Domains that look like it have been added to the same workspace by then.
        assert re.fullmatch(r"[a-z0-9_][a-z0-9_='.-]*@[a-z0-9-]+(\.[a-z0-9-]+)+", row["email"])


@settings(deadline=None, max_examples=30)
@given(st.one_of(HOSTILE, st.text(st.characters(min_codepoint=32, max_codepoint=126), min_size=12)))
def test_no_password_is_a_line_of_its_own(client: Client, store: Store, text: str) -> None:
    path = f"/mailboxes/{client.get('/api/v1/mailboxes').json()['data'][0]['id']}/password"
    answer = _post(client, path, {"password": text})
    assert answer.status_code in {200, 400}
    assert answer.status_code == 400 or re.fullmatch(r"[ -~]{12,128}", text)
    with db.reading(store.engine) as session:
        for stored in session.exec(select(Mailbox.password_hash)):
            assert re.fullmatch(r"\{SHA512-CRYPT\}\$6\$[A-Za-z0-9./=$]+", stored)


@settings(deadline=None, max_examples=60)
@given(st.sampled_from(["name", "subject", "text", "html"]), HOSTILE)
def test_no_template_is_a_defect(client: Client, field: str, text: str) -> None:
    body = {"name": "hostile", "subject": "s", "text": "t", field: text}
    made = _post(client, "/templates", body)
    assert made.status_code in {200, 400, 409}, made.text
    if made.status_code == 200:
        path = f"/templates/{made.json()['data']['id']}"
        filled = _post(client, f"{path}/render", {"variables": {"x": text}})
        assert filled.status_code in {200, 400}, filled.text
        if filled.status_code == 200:
            assert not set("\r\n\0\u2028\u0085") & set(filled.json()["data"]["subject"])
        assert client.delete(f"/api/v1{path}").status_code == 200


@settings(deadline=None, max_examples=60)
@given(HOSTILE)
def test_no_key_has_a_hostile_name_or_network(client: Client, text: str) -> None:
    for body in (
        {"name": text},
        {"name": "ci", "allowedIps": [text]},
        {"name": "ci", "mailboxId": text},
        {"name": "ci", "expiresAt": text},
    ):
        made = _post(client, "/keys", body)
        assert made.status_code in {200, 400, 404}, made.text
        if made.status_code == 200:
            assert not set("\r\n\0\u2028\u0085") & set(made.json()["data"]["name"])
            assert client.delete(f"/api/v1/keys/{made.json()['data']['id']}").status_code == 200


@settings(deadline=None, max_examples=60)
@given(HOSTILE)
def test_no_path_or_query_is_a_defect(client: Client, text: str) -> None:
    part = quoted(text)
    for path in (
        f"/{part}",
        f"/api/v1/{part}",
        f"/api/v1/mailboxes/{part}",
        f"/api/v1/mailboxes/mb_{part}/messages/{part}",
        f"/api/v1/mailboxes?{part}={part}",
    ):
        assert client.get(path).status_code in {200, 400, 404, 405}


@given(st.text(st.characters(min_codepoint=32, max_codepoint=126)))
@settings(deadline=None, max_examples=60)
def test_no_token_but_the_own_is_taken(client: Client, text: str) -> None:
    for token in (text, f"Bearer {text}", f"Bearer adbtd_live_{text}"):
        answer = client.get("/api/v1/me", headers={"Authorization": token})
        assert answer.status_code == 401


def test_the_log_holds_no_secret(
    client: Client, store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    token = client.headers["Authorization"].removeprefix("Bearer ")
    mailbox = client.get("/api/v1/mailboxes").json()["data"][0]["id"]
    with caplog.at_level(logging.DEBUG):
        client.get("/api/v1/me?token=query-secret")
        client.get("/api/v1/%0a%1b[31mforged")
        _post(client, f"/mailboxes/{mailbox}/send", {"to": "x", "subject": "body-secret"})
        with db.writing(store.engine) as session:
            session.connection().exec_driver_sql("ALTER TABLE apikey RENAME TO gone")
        try:
            assert client.get("/api/v1/me").status_code == 500
        finally:
            with db.writing(store.engine) as session:
                session.connection().exec_driver_sql("ALTER TABLE gone RENAME TO apikey")
    ours = [r for r in caplog.records if r.name.startswith(("mailfleet", "uvicorn", "litestar"))]
    assert any("GET '/api/v1/me' 200" in record.getMessage() for record in ours)
    formatter = logging.Formatter()
    for text in map(formatter.format, ours):
        for secret in (token, token.removeprefix("adbtd_live_"), "query-secret", "body-secret"):
            assert secret not in text
        assert "\x1b" not in text


def test_a_revoked_key_ends_at_once(client: Client, store: Store) -> None:
    with db.writing(store.engine) as session:
        acme = workspaces.get_by_slug(session, "acme")
        row, token = keys.create(session, acme, "short-lived")
    headers = {"Authorization": f"Bearer {token}"}
    assert client.get("/api/v1/me", headers=headers).status_code == 200
    with db.writing(store.engine) as session:
        keys.revoke(session, acme, row.id)
    assert client.get("/api/v1/me", headers=headers).status_code == 401
