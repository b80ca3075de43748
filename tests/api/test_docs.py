"""The description of the API and its page."""

import re
from typing import Any

from litestar.testing import TestClient

from api.dispatch import Dispatcher

Client = TestClient[Dispatcher]


def test_the_description_names_every_documented_route(anonymous: Client) -> None:
    description = anonymous.get("/api/v1/docs/openapi.json").json()
    routes = {
        (method.upper(), re.sub(r"\{\w+\}", ":id", path))
        for path, item in description["paths"].items()
        for method in item
    }
    assert routes >= {
        ("GET", "/api/v1/me"),
        ("GET", "/api/v1/orders"),
        ("GET", "/api/v1/orders/:id"),
        ("GET", "/api/v1/keys"),
        ("POST", "/api/v1/keys"),
        ("DELETE", "/api/v1/keys/:id"),
        ("GET", "/api/v1/domains"),
        ("POST", "/api/v1/domains"),
        ("GET", "/api/v1/domains/:id"),
        ("DELETE", "/api/v1/domains/:id"),
        ("GET", "/api/v1/ips"),
        ("POST", "/api/v1/ips"),
        ("DELETE", "/api/v1/ips/:id"),
        ("GET", "/api/v1/mailboxes"),
        ("POST", "/api/v1/mailboxes"),
        ("GET", "/api/v1/mailboxes/:id"),
        ("DELETE", "/api/v1/mailboxes/:id"),
        ("POST", "/api/v1/mailboxes/:id/send"),
        ("GET", "/api/v1/mailboxes/:id/messages"),
        ("GET", "/api/v1/mailboxes/:id/messages/:id"),
        # Ours:
        ("POST", "/api/v1/mailboxes/:id/send/batch"),
        ("GET", "/api/v1/mailboxes/:id/folders"),
        ("GET", "/api/v1/mailboxes/:id/messages/:id/attachments/:id"),
        ("GET", "/api/v1/mailboxes/:id/messages/:id/raw"),
        ("GET", "/api/v1/scheduled"),
        ("GET", "/api/v1/scheduled/:id"),
        ("DELETE", "/api/v1/scheduled/:id"),
        ("GET", "/api/v1/templates"),
        ("POST", "/api/v1/templates"),
        ("GET", "/api/v1/templates/:id"),
        ("PUT", "/api/v1/templates/:id"),
        ("DELETE", "/api/v1/templates/:id"),
        ("POST", "/api/v1/templates/:id/render"),
    }
    operations: list[dict[str, Any]] = [
        operation for item in description["paths"].values() for operation in item.values()
    ]
    assert len({operation["operationId"] for operation in operations}) == len(operations)
    for operation in operations:
        failure = operation["responses"]["400"]["content"]["application/json"]["schema"]
        assert failure == {"$ref": "#/components/schemas/Failure"}
    assert description["components"]["schemas"]["SendMessage"]["properties"]["fromName"]


def test_the_page_needs_no_outside_network(anonymous: Client) -> None:
    page = anonymous.get("/api/v1/docs")
    assert page.status_code == 200
    assert "//" not in re.sub(r"(?m)^\s*//.*$", "", page.text).replace("application/", "")
    assert "default-src 'none'" in page.headers["content-security-policy"]
    loaded = re.findall(r"(?:src|href)=[\"']([^\"']+)[\"']", page.text)
    assert len(loaded) == 4
    for path in loaded:
        assert path.startswith("/")
        assert anonymous.get(path).status_code == 200


def test_pages_that_are_not_there(anonymous: Client) -> None:
    for path in ("/api/v1/docs/x", "/api/v1/docs/x/y", "/assets/swagger-ui/x.js"):
        answer = anonymous.get(path)
        assert answer.status_code == 404
        assert answer.json()["error"]["code"] == "not_found"
