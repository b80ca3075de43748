"""No route of the dialect tells or changes anything of another tenant's, nor of nothing.

All routes are found in the dialect itself: one that is added with an id that is not made here, or
that takes a body which is not given here, fails these tests until it is covered.
"""

import re
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
import routekit
from litestar.testing import TestClient
from sqlmodel import select
from storekit import QUICK, Store

from api.adbtd.app import BASE_PATH, HANDLERS
from api.app import create_app
from orchestrator import db
from orchestrator.models import (
    Address,
    ApiKey,
    Domain,
    Mailbox,
    Order,
    ScheduledMessage,
    Template,
    utcnow,
)

#: The table and the prefix of each kind of id; those of
#: ``WITHIN`` are of messages, attachments and aliases within a mailbox.
TABLES: dict[str, tuple[Any, str]] = {
    "domain_id": (Domain, "dom"),
    "ip_id": (Address, "ip"),
    "mailbox_id": (Mailbox, "mb"),
    "key_id": (ApiKey, "key"),
    "order_id": (Order, "ord"),
    "template_id": (Template, "tpl"),
    "scheduled_id": (ScheduledMessage, "sch"),
}
WITHIN = {"uid": "1", "number": "1", "email": "info@acme.com"}
MESSAGE = {"to": "x@example.com", "subject": "s", "text": "t"}
TEMPLATE = {"name": "welcome", "subject": "s", "text": "t"}
#: A body that is in order, for the routes with an id that take one.
BODIES: dict[str, Any] = {
    "POST /mailboxes/{mailbox_id:str}/send": MESSAGE,
    "POST /mailboxes/{mailbox_id:str}/send/batch": {"messages": [MESSAGE]},
    "POST /mailboxes/{mailbox_id:str}/password": {},
    "PATCH /mailboxes/{mailbox_id:str}": {"quotaMib": 1},
    "POST /mailboxes/{mailbox_id:str}/aliases": {"email": "sales@acme.com"},
    "PUT /templates/{template_id:str}": TEMPLATE,
    "POST /templates/{template_id:str}/render": {"variables": {}},
}


ROUTES = [routekit.name(handler) for handler in HANDLERS]
WITH_IDS = [name for name in ROUTES if "{" in name]


@pytest.fixture
def owned(store: Store) -> dict[str, str]:
    """Ids of another tenant, who has one of everything."""
    owner = store.workspace("owner")
    store.pool(store.host(), "198.51.100.21")
    store.assign(owner)
    store.domain(owner)
    store.mailboxes(owner, "alice@acme.com")
    bearer = {"Authorization": f"Bearer {store.key(owner)}"}
    with TestClient(create_app(store.settings)) as client:
        client.headers.update(bearer)
        box = client.get(f"{BASE_PATH}/mailboxes").json()["data"][0]["id"]
        later = {**MESSAGE, "sendAt": (utcnow() + timedelta(days=1)).isoformat()}
        alias = {"email": WITHIN["email"]}
        for path, body in (
            (f"/mailboxes/{box}/send", later),
            ("/templates", TEMPLATE),
            (f"/mailboxes/{box}/aliases", alias),
        ):
            answer = client.post(f"{BASE_PATH}{path}", json=body)
            assert answer.status_code == 200, answer.text
    with db.reading(store.engine) as session:
        rows = {name: session.exec(select(table)).first() for name, (table, _) in TABLES.items()}
    ids = {name: f"{TABLES[name][1]}_{row.id.hex}" for name, row in rows.items() if row}
    return {**ids, **WITHIN}


def _everything(store: Store) -> dict[UUID, Any]:
    with db.reading(store.engine) as session:
        found = [row for table, _ in TABLES.values() for row in session.exec(select(table)).all()]
    return {row.id: row.model_dump(exclude={"last_used_at"}) for row in found}


@pytest.mark.parametrize("route", WITH_IDS)
def test_what_is_not_ones_own_is_not_found(store: Store, owned: dict[str, str], route: str) -> None:
    nothing = {name: f"{prefix}_{uuid4().hex}" for name, (_, prefix) in TABLES.items()}
    malformed = {name: f"{prefix}_x" for name, (_, prefix) in TABLES.items()}
    swapped = {name: f"{prefix}_{'0' * 32}" for name, (_, prefix) in TABLES.items()}
    bearer = f"Bearer {store.key(store.workspace('stranger'), rates=QUICK)}"
    before = _everything(store)
    with TestClient(create_app(store.settings)) as client:
        client.headers["Authorization"] = bearer
        for ids in (owned, *({**kind, **WITHIN} for kind in (nothing, malformed, swapped))):
            method, path = route.partition(" ")[0], routekit.path(BASE_PATH, route, ids)
            answer = client.request(method, path, json=BODIES.get(route))
            assert answer.status_code == 404, (route, answer.text)
            assert answer.json()["error"]["code"] == "not_found"
            assert not any(id_ in answer.text for id_ in ids.values() if len(id_) > 8)
    assert _everything(store) == before


@pytest.mark.parametrize(
    "route", [name for name in ROUTES if name.startswith("GET") and name not in WITH_IDS]
)
def test_nothing_of_others_is_shown(store: Store, owned: dict[str, str], route: str) -> None:
    bearer = f"Bearer {store.key(store.workspace('stranger'))}"
    with TestClient(create_app(store.settings)) as client:
        answer = client.get(
            routekit.path(BASE_PATH, route, owned), headers={"Authorization": bearer}
        )
    assert answer.status_code == 200
    for secret in (*(id_ for id_ in owned.values() if len(id_) > 8), "acme.com", "198.51.100.21"):
        assert secret not in answer.text


def test_the_same_ids_are_found_by_their_owner(store: Store, owned: dict[str, str]) -> None:
    """Otherwise the first test would pass with ids that nobody has."""
    with db.reading(store.engine) as session:
        for name, (table, _) in TABLES.items():
            assert session.get(table, UUID(hex=owned[name].partition("_")[2])) is not None
    used = {found for route in WITH_IDS for found in re.findall(r"\{(\w+):", route)}
    assert used == {*TABLES, *WITHIN}
