"""/orders as clients see them."""

import re
from typing import Any

from litestar.testing import TestClient
from storekit import Store

from api.dispatch import Dispatcher

Client = TestClient[Dispatcher]

MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")


def _data(client: Client, path: str) -> Any:
    answer = client.get(f"/api/v1{path}")
    assert answer.status_code == 200, answer.text
    return answer.json()["data"]


def test_an_order_from_beginning_to_end(client: Client, store: Store, fleet: Any) -> None:
    placed = client.post("/api/v1/mailboxes", json={"emails": ["carol@acme.com"]}).json()["data"]
    assert placed["status"] == "pending_provision"
    path = f"/orders/{placed['orderId']}"
    order = _data(client, path)
    assert MOMENT.fullmatch(order.pop("createdAt"))
    assert order == {
        "id": placed["orderId"],
        "kind": "mailboxes",
        "status": "pending_provision",
        "reason": "waiting for the TXT record _mailfleet.acme.com in DNS",
        "settledAt": None,
        "emails": ["carol@acme.com"],
    }
    store.prove(fleet.domain)
    store.converge(fleet.host)
    order = _data(client, path)
    assert (order["status"], order["reason"]) == ("provisioned", None)


def test_they_are_listed_newest_first_and_page_by_page(client: Client, fleet: Any) -> None:
    client.post("/api/v1/ips", json={"count": 1}).raise_for_status()
    rows = _data(client, "/orders")
    assert [row["kind"] for row in rows] == ["ips", "mailboxes", "domain"]
    assert rows[0]["ips"] == ["198.51.100.22"]
    assert rows[2]["domain"] == "acme.com"
    assert _data(client, "/orders?limit=2") == rows[:2]
    assert _data(client, f"/orders?before={rows[1]['id']}") == rows[2:]
    for query in ("limit=0", "limit=101"):
        assert client.get(f"/api/v1/orders?{query}").status_code == 400
