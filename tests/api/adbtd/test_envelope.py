"""Whatever is sent, an error is answered in the dialect's envelope: asked at the ASGI level."""

from typing import Any

import pytest
from asgikit import ask
from litestar.testing import TestClient
from storekit import Store

from api.dispatch import Dispatcher

Client = TestClient[Dispatcher]

JSON = (b"Content-Type", b"application/json")


@pytest.fixture
def bearer(client: Client) -> tuple[bytes, bytes]:
    return (b"Authorization", client.headers["Authorization"].encode())


def _fails(answer: Any, status: int, code: str) -> None:
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/json")
    if answer.request.method == "HEAD":  # it has no body (RFC 9110, 9.3.2)
        assert answer.content == b""
        return
    assert list(answer.json()) == ["error"]
    assert answer.json()["error"].keys() == {"code", "message"}
    assert answer.json()["error"]["code"] == code
    assert answer.headers["content-length"] == str(len(answer.content))


@pytest.mark.parametrize("method", ["GET", "POST", "HEAD", "OPTIONS", "PUT", "BREW"])
@pytest.mark.parametrize(
    "path", ["/", "/nope", "/api/v1", "/api/v1/nope", "//api/v1/me", "/api/v1/me/x", "/api/v1/%ff"]
)
def test_an_unknown_route(client: Client, bearer: Any, method: str, path: str) -> None:
    _fails(ask(client.app, method, path, [bearer]), 404, "not_found")


@pytest.mark.parametrize("method", ["HEAD", "PUT", "PATCH", "DELETE", "TRACE", "BREW"])
def test_a_wrong_method(client: Client, bearer: Any, method: str) -> None:
    answer = ask(client.app, method, "/api/v1/domains", [bearer])
    _fails(answer, 405, "validation_error")
    allowed = {name.strip() for name in answer.headers["allow"].split(",")}
    assert allowed == {"GET", "POST", "OPTIONS"}


def test_options_are_told_to_everybody(client: Client) -> None:
    for path, methods in (
        ("/me", "GET, OPTIONS"),
        ("/domains", "GET, OPTIONS, POST"),
        ("/domains/dom_x/", "DELETE, GET, OPTIONS"),
        ("/mailboxes/mb_x/messages/7", "GET, OPTIONS"),
    ):
        answer = ask(client.app, "OPTIONS", f"/api/v1{path}")
        assert (answer.status_code, answer.content) == (204, b"")
        assert answer.headers["allow"] == methods


def test_a_trailing_slash_changes_nothing(client: Client, bearer: Any) -> None:
    plain = ask(client.app, "GET", "/api/v1/me", [bearer])
    assert plain.status_code == 200
    assert ask(client.app, "GET", "/api/v1/me/", [bearer]).json() == plain.json()
    _fails(ask(client.app, "GET", "/api/v1/me/"), 401, "unauthorized")
    _fails(ask(client.app, "GET", "/api/v1/domains/x/", [bearer]), 404, "not_found")


@pytest.mark.parametrize(
    "kind", [b"text/plain", b"application/xml", b"multipart/form-data; boundary=x", b"\xff", b""]
)
def test_a_body_of_another_type(client: Client, bearer: Any, kind: bytes) -> None:
    headers = [bearer, (b"Content-Type", kind)]
    answer = ask(client.app, "POST", "/api/v1/domains", headers, b'{"name": "acme.com"}')
    _fails(answer, 400, "validation_error")


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b'{"name": "\xff.com"}', b"\xff\xfe{\x00}\x00", b"\x00", b'{"name": 1}', b"[]"],
)
@pytest.mark.parametrize("named", [False, True])
def test_a_body_that_is_not_json(client: Client, bearer: Any, body: bytes, named: bool) -> None:
    headers = [bearer, JSON, *([(b"Idempotency-Key", b"one")] if named else [])]
    _fails(ask(client.app, "POST", "/api/v1/domains", headers, body), 400, "validation_error")


@pytest.mark.parametrize("named", [False, True])
def test_a_body_that_is_too_large(client: Client, store: Store, bearer: Any, named: bool) -> None:
    headers = [bearer, JSON, *([(b"Idempotency-Key", b"one")] if named else [])]
    body = b" " * (store.settings.request_size_limit + 1)
    _fails(ask(client.app, "POST", "/api/v1/domains", headers, body), 413, "validation_error")


@pytest.mark.parametrize(
    "header",
    [
        (b"Authorization", b"Bearer \xff"),
        (b"Authorization", b"\xff"),
        (b"Host", b"bad host/"),
        (b"Content-Length", b"x"),
    ],
)
def test_a_header_that_can_not_be(client: Client, header: tuple[bytes, bytes]) -> None:
    answer = ask(client.app, "POST", "/api/v1/domains", [header, JSON])
    _fails(answer, *((400, "validation_error") if header[0] == b"Host" else (401, "unauthorized")))


def test_a_length_that_is_none(client: Client, bearer: Any) -> None:
    headers = [bearer, JSON, (b"Content-Length", b"x")]
    _fails(ask(client.app, "POST", "/api/v1/domains", headers), 400, "validation_error")


def test_bytes_in_the_query_that_are_no_text(client: Client, bearer: Any) -> None:
    answer = ask(client.app, "GET", "/api/v1/orders?limit=%ff&before=%ff", [bearer])
    _fails(answer, 400, "validation_error")
