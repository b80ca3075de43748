"""Hostile values through the unMTA dialect: refused, or stored as what they are."""

import ipaddress
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import clusterkit
import pytest
from databases import KINDS, Databases
from hostilekit import HOSTILE, quoted
from hypothesis import given, settings
from hypothesis import strategies as st
from litestar.testing import TestClient
from storekit import Store

from api.app import create_app
from api.dispatch import Dispatcher
from api.unmta import BASE_PATH

Client = TestClient[Dispatcher]

NAME = re.compile(r"[a-z0-9-]+(\.[a-z0-9-]+)+")


@pytest.fixture(scope="module", params=KINDS)
def client(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    databases: Databases,
    few_keys: None,
) -> Iterator[Client]:
    directory: Path = tmp_path_factory.mktemp("store")
    with databases.migrated(request.param, directory) as url:
        store = Store(directory, url)
        acme = store.workspace()
        slug = clusterkit.cluster(store, acme).slug
        token = clusterkit.token(store, clusterkit.user(store, acme))
        app = create_app(store.settings)
        with TestClient(app, raise_server_exceptions=False) as client:
            client.headers["Authorization"] = f"Bearer {token}"
            client.base_url = client.base_url.join(f"{BASE_PATH}/{slug}")
            assert client.post("/domains", json={"name": "acme.com"}).status_code == 201
            yield client
        store.close()


def _send(client: Client, method: str, path: str, body: Any) -> Any:
    # json.dumps keeps lone surrogates as escapes: such bytes may well be sent.
    content, headers = json.dumps(body).encode(), {"Content-Type": "application/json"}
    return client.request(method, path, content=content, headers=headers)


@settings(deadline=None, max_examples=40)
@given(HOSTILE)
def test_no_hostile_domain_is_added(client: Client, text: str) -> None:
    for name in (text, f"{text}.com", f"acme.com{text}"):
        assert _send(client, "POST", "/domains", {"name": name}).status_code in {201, 422}
    for row in client.get("/domains").json()["data"]:
        assert NAME.fullmatch(row["name"])


@settings(deadline=None, max_examples=60)
@given(HOSTILE)
def test_no_hostile_user_is_made(client: Client, text: str) -> None:
    for user in (text, f"app{text}"):
        body = {"user": user, "allow_all_domains": True}
        assert _send(client, "POST", "/credentials", body).status_code in {201, 422}
    for row in client.get("/credentials").json()["data"]:
        assert re.fullmatch(r"[A-Za-z0-9+=,.@_-]{1,255}", row["user"])


@settings(deadline=None, max_examples=60)
@given(
    HOSTILE, st.sampled_from(["{}", "2001:db8::1%{}", "203.0.113.5{}", "203.0.113.0/{}", "{}/8"])
)
def test_no_hostile_restriction_is_kept(client: Client, text: str, around: str) -> None:
    _send(client, "POST", "/credentials", {"user": "restricted", "allow_all_domains": True})
    for body in (
        {"allowed_ips": [around.format(text)]},
        {"domains": [text]},
        {"domains": [f"acme.com{text}"]},
    ):
        answer = _send(client, "PUT", "/credentials/restricted", body)
        assert answer.status_code in {200, 422}, answer.text
    for row in client.get("/credentials").json()["data"]:
        for network in row["allowed_ips"]:
            assert re.fullmatch(r"[0-9a-f:./]+", network) and ipaddress.ip_network(network)
        assert all(NAME.fullmatch(name) for name in row["domains"])


@settings(deadline=None, max_examples=60)
@given(HOSTILE)
def test_no_path_or_query_is_a_defect(client: Client, text: str) -> None:
    part = quoted(text)
    root = str(client.base_url).removesuffix("/").rpartition("/")[0]
    for path in (
        f"{root}/{part}",
        f"{root}/{part}/mtas",
        f"{root}/{part}/domains/{part}",
        f"/domains/{part}",
        f"/credentials?{part}={part}",
    ):
        assert client.get(path).status_code in {200, 404, 405}
    for method in ("PUT", "DELETE"):
        answer = _send(client, method, f"/credentials/{part}x", {"allow_all_domains": True})
        assert answer.status_code in {200, 204, 404, 405}, answer.text


@settings(deadline=None, max_examples=60)
@given(st.recursive(st.none() | st.booleans() | st.integers() | HOSTILE, st.lists, max_leaves=5))
def test_no_body_is_a_defect(client: Client, value: Any) -> None:
    for body in (value, {"name": value}, {"user": value, "domains": value, "allow_all_ips": value}):
        for method, path in (
            ("POST", "/domains"),
            ("POST", "/credentials"),
            ("PUT", "/credentials/restricted"),
        ):
            answer = _send(client, method, path, body)
            assert answer.status_code in {201, 404, 422}, answer.text
            if answer.status_code == 422:
                assert set(answer.json()) == {"message", "errors"}
