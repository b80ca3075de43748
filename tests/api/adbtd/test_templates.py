"""/templates, as a program uses them."""

from typing import Any

import pytest
from litestar.testing import TestClient
from storekit import Store

from api.dispatch import Dispatcher

Client = TestClient[Dispatcher]

WELCOME = {"name": "welcome", "subject": "Hi {{ name }}", "html": "<b>{{ name }}</b>"}


def _data(client: Client, method: str, path: str, body: object = None) -> Any:
    answer = client.request(method, f"/api/v1{path}", json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()["data"]


def _refused(client: Client, method: str, path: str, body: object) -> str:
    answer = client.request(method, f"/api/v1{path}", json=body)
    assert answer.status_code == 400, answer.text
    return str(answer.json()["error"]["message"])


def test_the_life_of_a_template(client: Client) -> None:
    made = _data(client, "POST", "/templates", WELCOME)
    path = f"/templates/{made['id']}"
    assert made["id"].startswith("tpl_")
    assert {**made, **WELCOME, "text": None} == made
    assert _data(client, "GET", path) == made
    listed = {name: value for name, value in made.items() if name not in {"text", "html"}}
    assert _data(client, "GET", "/templates") == [listed]
    shown = _data(client, "POST", f"{path}/render", {"variables": {"name": "<Lena>"}})
    assert shown == {"subject": "Hi <Lena>", "text": None, "html": "<b>&lt;Lena&gt;</b>"}
    other = _data(client, "PUT", path, {"name": "bye", "subject": "Bye", "text": "x"})
    assert (other["name"], other["html"], other["createdAt"]) == ("bye", None, made["createdAt"])
    assert _data(client, "DELETE", path) == {"deleted": "bye"}
    assert _data(client, "GET", "/templates") == []
    assert client.get(f"/api/v1{path}").status_code == 404


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"html": None}, "text"),
        ({"html": "a\n{% for %}"}, "html, line 2"),
        ({"subject": "{{ x"}, "subject, line 1"),
        ({"subject": "a\r\nb"}, "subject"),
        ({"name": " "}, "name"),
        ({"name": "a\nb"}, "name"),
        ({"html": "x" * 300_000}, "html"),
        ({"html": "a\0b"}, "html"),
        ({"extra": 1}, "extra"),
    ],
)
def test_what_is_no_template(client: Client, change: dict[str, Any], named: str) -> None:
    assert named in _refused(client, "POST", "/templates", {**WELCOME, **change})
    assert _data(client, "GET", "/templates") == []


def test_a_name_is_unique_on_its_workspace(client: Client, store: Store) -> None:
    first = _data(client, "POST", "/templates", WELCOME)
    assert client.post("/api/v1/templates", json=WELCOME).status_code == 409
    second = _data(client, "POST", "/templates", {**WELCOME, "name": "second"})
    assert client.put(f"/api/v1/templates/{second['id']}", json=WELCOME).status_code == 409
    stranger = {"Authorization": f"Bearer {store.key(store.workspace('stranger'))}"}
    theirs = client.post("/api/v1/templates", json=WELCOME, headers=stranger)
    assert theirs.status_code == 200
    for method in ("GET", "DELETE"):
        path = f"/api/v1/templates/{first['id']}"
        assert client.request(method, path, headers=stranger).status_code == 404
    listed = [row["id"] for row in _data(client, "GET", "/templates")]
    assert listed == [second["id"], first["id"]]


def test_what_can_not_be_filled(client: Client) -> None:
    path = f"/templates/{_data(client, 'POST', '/templates', WELCOME)['id']}/render"
    assert "'name' is undefined" in _refused(client, "POST", path, {"variables": {}})
    assert "control" in _refused(client, "POST", path, {"variables": {"name": "a\r\nBcc: x"}})
    _refused(client, "POST", path, {"variables": []})
    _refused(client, "POST", path, {})
