"""POST /domains of mode "buy", before a registry that speaks EPP."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import eppkit
import pytest
from litestar.testing import TestClient
from shopkit import buying
from storekit import Store

from api.app import create_app
from api.dispatch import Dispatcher
from orchestrator import db
from orchestrator.models import Workspace, utcnow
from orchestrator.services import registrations

Client = TestClient[Dispatcher]


@pytest.fixture
def client(
    store: Store, acme: Workspace, registry: eppkit.Registry, tmp_path: Path
) -> Iterator[Client]:
    """An API that buys domains, as a workspace with a dedicated IP calls it."""
    store.pool(store.host(), "198.51.100.21")
    store.assign(acme)
    options = buying(store.settings, registry, tmp_path)
    with TestClient(create_app(options), raise_server_exceptions=False) as made:
        made.headers["Authorization"] = f"Bearer {store.key(acme)}"
        yield made


def buy(client: Client, name: str) -> Any:
    return client.post("/api/v1/domains", json={"name": name, "mode": "buy"})


def test_a_domain_is_ordered(client: Client) -> None:
    answer = buy(client, "New-Tenant.net")
    assert answer.status_code == 200, answer.text
    data = answer.json()["data"]
    assert (data["status"], data["domain"]) == ("pending_provision", "new-tenant.net")
    (row,) = client.get("/api/v1/domains").json()["data"]
    assert (row["name"], row["mode"], row["status"]) == ("new-tenant.net", "buy", "pending")


def test_its_order_tells_how_the_purchase_goes(client: Client, store: Store) -> None:
    order = buy(client, "new-tenant.net").json()["data"]["orderId"]

    def shown() -> tuple[str, str]:
        data = client.get(f"/api/v1/orders/{order}").json()["data"]
        return data["status"], data["reason"]

    assert shown() == ("pending_provision", "waiting for the registrar of new-tenant.net")
    with db.writing(store.engine) as session:
        row = registrations.get(session, "new-tenant.net")
        registrations.registered(session, row, utcnow() + timedelta(days=365), 60)
    assert shown() == ("pending_provision", "waiting for the records of new-tenant.net in DNS")
    with db.writing(store.engine) as session:
        registrations.failed(session, registrations.get(session, "new-tenant.net"), "no credit")
    assert shown() == ("failed", "new-tenant.net could not be bought: no credit")


def test_a_domain_that_is_taken_is_a_conflict(client: Client, registry: eppkit.Registry) -> None:
    registry.hold("new-tenant.net", owner="rival")
    answer = buy(client, "new-tenant.net")
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "conflict")
    assert client.get("/api/v1/domains").json()["data"] == []


def test_a_registrar_that_is_away_is_said(client: Client, registry: eppkit.Registry) -> None:
    registry.failures["check"] = [2400]
    answer = buy(client, "new-tenant.net")
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "internal_error")
    assert answer.headers["retry-after"].isdecimal()
    assert buy(client, "new-tenant.net").status_code == 200
    assert buy(client, "not a name").status_code == 400
