"""Every failure is answered in one of the dialect's envelopes."""

from typing import Any

import clusterkit
import pytest
from asgikit import ask
from litestar.testing import TestClient
from storekit import Store

from api.dispatch import Dispatcher
from api.unmta import BASE_PATH
from api.unmta.requests import MOST
from orchestrator import db
from orchestrator.models import Bucket, Cluster, User

Client = TestClient[Dispatcher]

JSON = {"Content-Type": "application/json"}


def _fails(answer: Any, status: int, message: str) -> None:
    assert (answer.status_code, answer.json()) == (status, {"message": message})
    assert answer.headers["content-type"] == "application/json"


def _refuses(answer: Any, errors: dict[str, str]) -> None:
    assert answer.status_code == 422, answer.text
    assert answer.headers["content-type"] == "application/json"
    first, more = next(iter(errors.values())), len(errors) - 1
    if more:
        first += f" (and {more} more error{'s' if more > 1 else ''})"
    assert answer.json() == {
        "message": first,
        "errors": {field: [message] for field, message in errors.items()},
    }


NOWHERE = ["/abcdefgh", "/abcdefgh/nope", "/a/domains/b/c", "/%ff", "/%00"]


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE", "OPTIONS", "BREW"])
def test_an_unknown_route(client: Client, method: str) -> None:
    for path in NOWHERE:
        _fails(client.request(method, BASE_PATH + path), 404, "Not Found")


def test_what_only_begins_alike_is_the_native_apis(client: Client) -> None:
    answer = client.get(f"{BASE_PATH}x")
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "not_found")


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("POST", "", {"GET", "OPTIONS"}),
        ("PATCH", "/x/mtas", {"GET", "OPTIONS"}),
        ("PUT", "/x/domains", {"GET", "POST", "OPTIONS"}),
        ("PATCH", "/x/domains/y.com", {"GET", "DELETE", "OPTIONS"}),
        ("GET", "/x/credentials/y", {"PUT", "DELETE", "OPTIONS"}),
    ],
)
def test_a_wrong_method(client: Client, method: str, path: str, allowed: set[str]) -> None:
    answer = client.request(method, BASE_PATH + path)
    _fails(answer, 405, "The method is not supported for this route.")
    assert {name.strip() for name in answer.headers["allow"].split(",")} == allowed
    told = ask(client.app, "OPTIONS", BASE_PATH + path)
    assert (told.status_code, told.content) == (204, b"")
    assert {name.strip() for name in told.headers["allow"].split(",")} == allowed


NO_TOKENS = [
    None,
    "",
    "Bearer",
    "Bearer ",
    "Basic abc",
    "Bearer unmta_live_x",
    "unmta_live_" + "a" * 43,
]


def test_a_missing_or_wrong_token(anonymous: Client) -> None:
    for header in NO_TOKENS:
        headers = {} if header is None else {"Authorization": header}
        for path in ("", "/abcdefgh/domains", "/docsabcd/mtas"):
            answer = anonymous.get(BASE_PATH + path, headers=headers)
            _fails(answer, 401, "Unauthenticated.")
            assert answer.headers["www-authenticate"] == "Bearer"


def test_authentication_comes_before_the_body(anonymous: Client) -> None:
    answer = anonymous.post(f"{BASE_PATH}/abcdefgh/domains", content=b"{", headers=JSON)
    _fails(answer, 401, "Unauthenticated.")


@pytest.mark.parametrize(
    "path",
    ["/docs", "/docs/", "/docs/openapi.json"],
)
def test_the_description_is_for_everybody(anonymous: Client, path: str) -> None:
    assert anonymous.get(BASE_PATH + path).status_code == 200


NO_PAGES = ["/docs/x", "/docs/mtas", "/docs/x/y", "/docs/domains/x"]


def test_pages_that_are_not_there(client: Client) -> None:
    for path in NO_PAGES:
        _fails(client.get(BASE_PATH + path), 404, "Not Found")


NO_JSON = [
    b"{",
    b"\xff\xfe",
    b"\x00",
    b'{"name": "example.com",}',
    b'{"name": "\xff.com"}',
    b'{"name": "\\ud800.com"}',
    b'{"name":' + b"[" * 100_000,
]


def test_a_body_that_is_not_json(call: Any) -> None:
    for body in NO_JSON:
        answer = call("POST", "/domains", content=body, headers=JSON)
        _refuses(answer, {"body": "The request body is not valid JSON."})


def test_a_body_that_is_empty(call: Any) -> None:
    for method, path in (("POST", "/domains"), ("PUT", "/credentials/x")):
        answer = call(method, path, content=b"", headers=JSON)
        _refuses(answer, {"body": "The request body is empty."})


NO_OBJECTS = [b"null", b"[]", b"7", b'"example.com"', b"true"]


def test_a_body_that_is_no_object(call: Any) -> None:
    for body in NO_OBJECTS:
        answer = call("POST", "/domains", content=body, headers=JSON)
        _refuses(answer, {"body": "The request body is not a JSON object."})


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", ""])
def test_a_body_that_is_not_called_json(call: Any, kind: str) -> None:
    headers = {"Content-Type": kind} if kind else {}
    answer = call("POST", "/domains", content=b'{"name": "example.com"}', headers=headers)
    _refuses(answer, {"body": "Content-Type is not application/json."})


def test_a_number_that_is_too_large(call: Any) -> None:
    body = b'{"name": ' + b"9" * 5000 + b"}"
    assert set(call("POST", "/domains", content=body, headers=JSON).json()["errors"]) == {"body"}


@pytest.mark.parametrize(
    ("body", "errors"),
    [
        ({}, {"name": "The name field is required."}),
        ({"name": None}, {"name": "The name field is required."}),
        ({"name": ""}, {"name": "The name field is required."}),
        ({"name": 7}, {"name": "The name field must be a string."}),
        ({"name": []}, {"name": "The name field must be a string."}),
        ({"name": {}}, {"name": "The name field must be a string."}),
        (
            {"name": True, "colour": 1, "": 2},
            {
                "name": "The name field must be a string.",
                "colour": "The colour field is unknown.",
                "": "The  field is unknown.",
            },
        ),
    ],
)
def test_a_domain_of_the_wrong_shape(call: Any, body: Any, errors: dict[str, str]) -> None:
    _refuses(call("POST", "/domains", body), errors)


def test_all_faulty_fields_are_told_at_once(call: Any) -> None:
    body = {
        "user": 7,
        "allow_all_domains": "yes",
        "domains": ["example.com", 7, None],
        "allow_all_ips": 1,
        "allowed_ips": "203.0.113.0/24",
        "colour": "red",
    }
    answer = call("POST", "/credentials", body)
    errors = {
        "allow_all_domains": "The allow all domains field must be true or false.",
        "domains.1": "The domains.1 field must be a string.",
        "domains.2": "The domains.2 field must be a string.",
        "allow_all_ips": "The allow all ips field must be true or false.",
        "allowed_ips": "The allowed ips field must be an array.",
        "colour": "The colour field is unknown.",
    }
    assert answer.json()["errors"] == {
        "user": ["The user field must be a string."],
        **{field: [message] for field, message in errors.items()},
    }
    assert answer.json()["message"].endswith(" (and 6 more errors)")
    # The same fields, without the user, are those of a change.
    del body["user"]
    _refuses(call("PUT", "/credentials/nobody", body), errors)
    _refuses(
        call("POST", "/credentials", {"domains": None}),
        {
            "domains": "The domains field must be an array.",
            "user": "The user field is required.",
        },
    )


def test_an_answer_is_not_much_larger_than_its_request(call: Any) -> None:
    answer = call("POST", "/credentials", {"user": "x", "domains": [1] * 100_000})
    assert len(answer.json()["errors"]) == MOST
    assert answer.json()["message"].endswith(f" (and {MOST - 1} more errors)")


@pytest.mark.parametrize("key", [{}, {"Idempotency-Key": "one"}])
def test_an_oversized_body(call: Any, store: Store, key: dict[str, str]) -> None:
    body = b" " * (store.settings.request_size_limit + 1)
    answer = call("POST", "/domains", content=body, headers={**JSON, **key})
    _fails(answer, 413, "The request body is too large.")


def test_a_header_that_can_not_be(client: Client, cluster: Cluster) -> None:
    bearer = (b"Authorization", client.headers["Authorization"].encode())
    path = f"{BASE_PATH}/{cluster.slug}/domains"
    for header in ((b"Content-Length", b"x"), (b"Idempotency-Key", b"a\tb")):
        headers = [bearer, (b"Content-Type", b"application/json"), header]
        answer = ask(client.app, "POST", path, headers)
        assert answer.status_code == 422, answer.text
        assert set(answer.json()["errors"]) == {"request"}


def test_a_request_that_is_sent_again(call: Any) -> None:
    headers = {"Idempotency-Key": "one"}
    body = {"user": "app", "allow_all_domains": True}
    first, second = (call("POST", "/credentials", body, headers=headers) for _ in range(2))
    assert (first.status_code, second.status_code) == (201, 201)
    assert second.content == first.content
    assert second.headers["Idempotency-Replayed"] == "true"
    assert len(call("GET", "/credentials").json()["data"]) == 1
    answer = call("POST", "/credentials", {**body, "user": "other"}, headers=headers)
    _fails(answer, 409, "This Idempotency-Key was used for another request.")


def test_too_many_requests(anonymous: Client, store: Store, ops: User) -> None:
    token = clusterkit.token(store, ops, dict.fromkeys(Bucket, "60/2"))
    anonymous.headers["Authorization"] = f"Bearer {token}"
    assert [anonymous.get(BASE_PATH).status_code for _ in range(3)] == [200, 200, 429]
    answer = anonymous.post(f"{BASE_PATH}/abcdefgh/domains", content=b"{")
    _fails(answer, 429, "Too Many Attempts.")
    assert answer.headers["Retry-After"] == "1"


def test_a_defect_tells_nothing(call: Any, store: Store, caplog: pytest.LogCaptureFixture) -> None:
    store.settings.master_key_file.write_text("broken")
    _fails(call("POST", "/domains", {"name": "example.com"}), 500, "Server Error")
    with db.writing(store.engine) as session:
        session.connection().exec_driver_sql("ALTER TABLE domain RENAME TO gone")
    _fails(call("GET", "/domains"), 500, "Server Error")
    assert "failed" in caplog.text
