"""The rules of a cluster's credentials."""

import string
from typing import Any

import clusterkit
import pytest
from litestar.testing import TestClient
from sqlmodel import select
from storekit import Store

from api.dispatch import Dispatcher
from api.unmta import BASE_PATH
from orchestrator import db
from orchestrator.models import Credential, Workspace

Client = TestClient[Dispatcher]

LONGEST = "a" * 255


@pytest.fixture(autouse=True)
def domains(call: Any) -> None:
    for name in ("example.com", "other.com"):
        assert call("POST", "/domains", {"name": name}).status_code == 201


def _made(call: Any, **body: Any) -> Any:
    answer = call("POST", "/credentials", {"user": "app", **body})
    assert answer.status_code == 201, answer.text
    return answer.json()["data"]


def _changed(call: Any, **body: Any) -> Any:
    answer = call("PUT", "/credentials/app", body)
    assert answer.status_code == 200, answer.text
    assert call("GET", "/credentials").json()["data"] == [answer.json()["data"]]
    return _restrictions(answer.json()["data"])


def _restrictions(data: Any) -> tuple[bool, list[str], bool, list[str]]:
    return tuple(
        data[name] for name in ("allow_all_domains", "domains", "allow_all_ips", "allowed_ips")
    )


def _refuses(answer: Any, field: str, message: str | None = None) -> None:
    assert answer.status_code == 422, answer.text
    assert list(answer.json()["errors"]) == [field]
    assert message is None or answer.json()["message"] == message
    assert answer.json()["errors"][field] == [answer.json()["message"]]


@pytest.mark.parametrize(
    "user", ["a", LONGEST, "Web.App+1=x,y@example.com_-", string.ascii_letters + string.digits]
)
def test_a_user_is_told_as_it_was_given(call: Any, user: str) -> None:
    assert _made(call, user=user, allow_all_domains=True)["user"] == user
    path = f"/credentials/{user}"
    assert call("PUT", path, {"domains": ["example.com"]}).json()["data"]["user"] == user
    assert call("DELETE", path).status_code == 204


NO_USERS = [
    LONGEST + "a",
    "a b",
    " a",
    "a\n",
    "a:b",
    "a/b",
    "a\0",
    "a\\b",
    "a'b",
    'a"b',
    "a%b",
    "a#b",
    "a*b",
    "café",
    "\u212a",  # K, of which lower case is k
    "\u0661",
]


def test_a_user_that_can_not_be(call: Any) -> None:
    for user in NO_USERS:
        message = "The user field may hold 1 to 255 letters, numbers and + = , . @ _ - only."
        _refuses(
            call("POST", "/credentials", {"user": user, "allow_all_domains": True}), "user", message
        )


def test_a_user_is_one_in_any_case(
    client: Client, call: Any, store: Store, acme: Workspace
) -> None:
    _made(call, user="App", allow_all_domains=True)
    for user in ("App", "app", "APP"):
        answer = call("POST", "/credentials", {"user": user, "allow_all_domains": True})
        _refuses(answer, "user", "The user has already been taken.")
    assert call("PUT", "/credentials/aPP", {}).json()["data"]["user"] == "App"
    # Another cluster has users of its own.
    other = clusterkit.cluster(store, acme)
    body = {"user": "app", "allow_all_domains": True}
    path = f"{BASE_PATH}/{other.slug}/credentials"
    assert client.post(path, json=body).status_code == 201
    assert call("DELETE", "/credentials/app").status_code == 204
    assert len(client.get(path).json()["data"]) == 1
    _made(call, user="app", allow_all_domains=True)


@pytest.mark.parametrize("user", ["nobody", "%00", "%ff", "\u212a", "x" * 300])
def test_a_user_that_is_not_there(call: Any, user: str) -> None:
    _made(call, user="k", allow_all_domains=True)
    for method, body in (("PUT", {"allow_all_domains": True}), ("DELETE", None)):
        answer = call(method, f"/credentials/{user}", body)
        assert (answer.status_code, answer.json()) == (404, {"message": "Not Found"})


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "domains"),
        ({"domains": []}, "domains"),
        ({"allow_all_domains": False}, "domains"),
        ({"allow_all_domains": False, "domains": []}, "domains"),
        ({"allow_all_domains": True, "allow_all_ips": False}, "allowed_ips"),
        ({"allow_all_domains": True, "allowed_ips": []}, "allowed_ips"),
        ({"allow_all_domains": True, "allow_all_ips": False, "allowed_ips": []}, "allowed_ips"),
    ],
)
def test_a_restriction_that_allows_nothing(call: Any, body: Any, field: str) -> None:
    name = "domains" if field == "domains" else "ips"
    message = f"The {field.replace('_', ' ')} field is required when allow all {name} is false."
    _refuses(call("POST", "/credentials", {"user": "app", **body}), field, message)
    assert call("GET", "/credentials").json() == {"data": []}


def test_the_defaults(call: Any) -> None:
    data = _made(call, domains=["Example.COM", "example.com.", "other.com"])
    assert _restrictions(data) == (False, ["example.com", "other.com"], True, [])


def test_all_outweighs_a_list(call: Any) -> None:
    data = _made(
        call,
        allow_all_domains=True,
        domains=["example.com"],
        allow_all_ips=True,
        allowed_ips=["203.0.113.5"],
    )
    assert _restrictions(data) == (True, [], True, [])


def test_what_a_change_does_not_say_stays_or_follows(call: Any) -> None:
    _made(call, allow_all_domains=True)
    assert _changed(call, domains=["example.com"]) == (False, ["example.com"], True, [])
    assert _changed(call, allowed_ips=["203.0.113.5"]) == (
        False,
        ["example.com"],
        False,
        ["203.0.113.5"],
    )
    assert _changed(call) == (False, ["example.com"], False, ["203.0.113.5"])
    assert _changed(call, allow_all_domains=False, allow_all_ips=False) == _changed(call)
    assert _changed(call, allow_all_ips=True) == (False, ["example.com"], True, [])
    assert _changed(call, allow_all_domains=True) == (True, [], True, [])
    assert _changed(call, allow_all_domains=True, domains=["example.com"]) == (True, [], True, [])
    path = "/credentials/app"
    for body, field in (
        ({"domains": []}, "domains"),
        ({"allow_all_domains": False}, "domains"),
        ({"allowed_ips": []}, "allowed_ips"),
        ({"allow_all_ips": False}, "allowed_ips"),
        # All or nothing.
        ({"domains": ["example.com"], "allowed_ips": ["x"]}, "allowed_ips.0"),
    ):
        _refuses(call("PUT", path, body), field)
    assert _changed(call) == (True, [], True, [])


@pytest.mark.parametrize("name", ["foreign.com", "sub.example.com", "", "192.0.2.1", "a\0.com"])
def test_a_domain_that_is_not_the_clusters(
    client: Client, call: Any, store: Store, acme: Workspace, name: str
) -> None:
    other = clusterkit.cluster(store, acme)
    client.post(f"{BASE_PATH}/{other.slug}/domains", json={"name": "foreign.com"})
    body = {"user": "app", "domains": ["example.com", name]}
    message = "The selected domains.1 is not a domain of this cluster."
    _refuses(call("POST", "/credentials", body), "domains.1", message)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("198.51.100.5", "198.51.100.5"),
        ("198.51.100.5/32", "198.51.100.5/32"),
        ("203.0.113.0/24", "203.0.113.0/24"),
        ("0.0.0.0/0", "0.0.0.0/0"),
        ("2001:DB8:0::5", "2001:db8::5"),
        ("2001:db8::/32", "2001:db8::/32"),
        ("::/0", "::/0"),
    ],
)
def test_networks(call: Any, given: str, told: str) -> None:
    data = _made(call, allow_all_domains=True, allowed_ips=[given, given])
    assert (data["allow_all_ips"], data["allowed_ips"]) == (False, [told])


NO_NETWORKS = [
    "",
    "x",
    "example.com",
    "203.0.113.5/24",
    "203.0.113.0/33",
    "203.0.113",
    "2001:db8::1/32",
    "2001:db8::/129",
    "fe80::1%eth0",
    "2001:db8::1%x\ny",
    "::ffff:203.0.113.5",
    "203.0.113.5\n",
    "203.0.113.5 198.51.100.5",
    "203.0.113.5\0",
    "٢٠٣.0.113.5",
]


def test_what_is_no_network(call: Any) -> None:
    for text in NO_NETWORKS:
        body = {"user": "app", "allow_all_domains": True, "allowed_ips": ["203.0.113.5", text]}
        field = "allowed_ips.1"
        message = f"The {field} field must be an IP address or a network such as 203.0.113.0/24."
        _refuses(call("POST", "/credentials", body), field, message)


def test_too_many_items(call: Any) -> None:
    networks = [f"10.{number // 256}.{number % 256}.0/24" for number in range(501)]
    body = {"user": "app", "allow_all_domains": True, "allowed_ips": networks}
    _refuses(call("POST", "/credentials", body), "allowed_ips")
    assert len(_made(call, allow_all_domains=True, allowed_ips=networks[1:])["allowed_ips"]) == 500


def test_a_change_is_dated(call: Any, store: Store) -> None:
    made = _made(call, allow_all_domains=True)
    with db.writing(store.engine) as session:
        row = session.exec(select(Credential)).one()
        row.created_at = row.updated_at = row.created_at.replace(year=2025)
    data = call("PUT", "/credentials/app", {"domains": ["example.com"]}).json()["data"]
    assert data["created_at"][4:] == made["created_at"][4:]
    assert data["updated_at"] >= made["updated_at"] > data["created_at"]


def test_only_the_hash_of_a_password_is_kept(call: Any, store: Store) -> None:
    body = {"user": "app", "allow_all_domains": True}
    password = call("POST", "/credentials", body).json()["password"]
    with db.reading(store.engine) as session:
        row = session.exec(select(Credential)).one()
    assert password not in repr(row.model_dump())
    assert row.password_hash.startswith("{SHA512-CRYPT}")
