"""Every example of the adbtd reference, shape by shape."""

import re
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import msgspec
import pytest
from litestar.testing import TestClient
from storekit import Store

from api.adbtd import send_translate, translate
from api.dispatch import Dispatcher
from orchestrator import db
from orchestrator.conditions import Type
from orchestrator.mail.types import (
    AttachmentInfo,
    FolderPage,
    MessageDetail,
    MessageSummary,
    Submission,
)
from orchestrator.models import Address, Workspace
from orchestrator.services import domains

Client = TestClient[Dispatcher]

MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
DAY = datetime(2026, 5, 3, 8, 14, 22, tzinfo=UTC)


def _id(prefix: str, value: Any) -> bool:
    return re.fullmatch(prefix + r"_[0-9a-f]{32}", str(value)) is not None


def _data(client: Client, method: str, path: str, **kwargs: Any) -> Any:
    answer = client.request(method, f"/api/v1{path}", **kwargs)
    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert list(body) == ["data"]
    return body["data"]


def test_me(client: Client) -> None:
    data = _data(client, "GET", "/me")
    assert _id("ws", data["workspace"].pop("id"))
    assert _id("key", data["apiKey"].pop("id"))
    assert data == {
        "workspace": {"slug": "acme", "name": "Acme", "currency": "usd"},
        "apiKey": {"name": "ci/cd"},
    }


def test_domains(client: Client, store: Store, fleet: Any) -> None:
    (pending,) = _data(client, "GET", "/domains")
    assert (pending["status"], pending["lastVerifiedAt"]) == ("pending", None)
    assert not (pending["spfOk"] or pending["dkimOk"] or pending["dmarcOk"] or pending["mxOk"])
    store.prove(fleet.domain)
    store.observe(fleet.domain, Type.SPF_OK, Type.DKIM_OK, Type.DMARC_OK, Type.MX_OK)
    (data,) = _data(client, "GET", "/domains")
    assert _id("dom", data.pop("id"))
    assert MOMENT.fullmatch(data.pop("createdAt")) and MOMENT.fullmatch(data.pop("lastVerifiedAt"))
    assert data.pop("dkimSelector") == f"adbtd-{datetime.now(UTC).year}"
    assert data == {
        "name": "acme.com",
        "mode": "byo",
        "status": "verified",
        "spfOk": True,
        "dkimOk": True,
        "dmarcOk": True,
        "mxOk": True,
    }


def test_add_domain(client: Client, store: Store, acme: Workspace) -> None:
    store.pool(store.host(), "198.51.100.21")
    store.assign(acme)
    for body in ({"name": "acme.com", "mode": "byo"}, {"name": "Second.acme.COM"}):
        data = _data(client, "POST", "/domains", json=body)
        assert _id("ord", data.pop("orderId"))
        assert data == {"status": "pending_provision", "domain": body["name"].lower()}


def test_delete_domain(client: Client, fleet: Any) -> None:
    path = f"/domains/dom_{fleet.domain.id.hex}"
    assert _data(client, "DELETE", path) == {"deletedMailboxes": 2}
    assert _data(client, "GET", "/domains") == _data(client, "GET", "/mailboxes") == []


def test_a_domains_records_to_copy(client: Client, store: Store, fleet: Any) -> None:
    store.observe(fleet.domain, Type.SPF_OK)
    data = _data(client, "GET", f"/domains/dom_{fleet.domain.id.hex}")
    (listed,) = _data(client, "GET", "/domains")
    records = data.pop("records")
    assert data == listed
    with db.reading(store.engine) as session:
        expected = domains.expected_records(session, store.settings, fleet.domain)
    assert [(r["type"], r["name"], r["value"]) for r in records] == [
        (r.type, r.name, r.value) for r in expected
    ]
    statuses = {r["purpose"]: r["status"] for r in records}
    assert statuses.pop("spf") == "ok"
    assert set(statuses) == {"ownership", "mx", "dkim", "dmarc"}
    assert set(statuses.values()) == {"unknown"}


def test_ips(client: Client, fleet: Any) -> None:
    (data,) = _data(client, "GET", "/ips")
    assert _id("ip", data.pop("id"))
    assert MOMENT.fullmatch(data.pop("allocatedAt"))
    assert data == {
        "address": "198.51.100.21",
        "status": "assigned",
        "lastReputationAt": None,
        "reputationFlags": None,
    }


def test_order_ips(client: Client, fleet: Any) -> None:
    data = _data(client, "POST", "/ips", json={"count": 1})
    assert _id("ord", data.pop("orderId"))
    assert data == {"status": "pending_provision", "ips": 1}
    assert len(_data(client, "GET", "/ips")) == 2


def test_release_ip(client: Client, fleet: Any) -> None:
    _data(client, "POST", "/ips", json={"count": 1})
    first, second = _data(client, "GET", "/ips")
    assert _data(client, "DELETE", f"/ips/{first['id']}") == {
        "released": first["address"],
        "cancelledSubscription": False,
    }
    assert [row["smtpHost"] for row in _data(client, "GET", "/mailboxes")] == [
        second["address"],
        second["address"],
    ]


def test_mailboxes(client: Client, store: Store, fleet: Any) -> None:
    store.prove(fleet.domain)
    store.converge(fleet.host)
    data, _ = _data(client, "GET", "/mailboxes")
    assert _data(client, "GET", f"/mailboxes/{data['id']}") == data
    assert _id("mb", data.pop("id"))
    assert MOMENT.fullmatch(data.pop("createdAt"))
    assert data == {
        "email": "alice@acme.com",
        "smtpHost": "198.51.100.21",
        "imapHost": "198.51.100.21",
        "submissionPort": 587,
        "imapPort": 993,
        "status": "active",
    }


def test_a_new_mailbox_is_provisioning(client: Client, fleet: Any) -> None:
    assert {row["status"] for row in _data(client, "GET", "/mailboxes")} == {"provisioning"}


def test_create_mailboxes(client: Client, fleet: Any) -> None:
    body = {"emails": ["Carol@acme.com", "dave@acme.com"]}
    data = _data(client, "POST", "/mailboxes", json=body)
    assert _id("ord", data.pop("orderId"))
    assert data == {
        "status": "pending_provision",
        "emails": ["carol@acme.com", "dave@acme.com"],
    }


def test_delete_mailbox(client: Client, fleet: Any) -> None:
    path = f"/mailboxes/mb_{fleet.alice.mailbox.id.hex}"
    assert _data(client, "DELETE", path) == {"deleted": "alice@acme.com"}
    assert client.get(f"/api/v1{path}").status_code == 404
    assert [row["email"] for row in _data(client, "GET", "/mailboxes")] == ["bob@acme.com"]


def _json(answer: object) -> Any:
    return msgspec.json.decode(msgspec.json.encode(answer))


SUMMARY = MessageSummary(
    uid=142,
    message_id="<x@example.com>",
    subject="re: launch",
    sender=("Lena <lena@example.com>",),
    to=("alice@acme.com",),
    cc=(),
    date=DAY,
    flags=("\\Seen",),
    size=4821,
)


def test_the_shape_of_a_submission() -> None:
    sent = Submission("<x@acme.com>", ("you@example.com",), (), "250 2.0.0 Ok: queued")
    assert _json(send_translate.sent(sent)) == {
        "messageId": "<x@acme.com>",
        "accepted": ["you@example.com"],
        "rejected": [],
        "response": "250 2.0.0 Ok: queued",
    }


@pytest.mark.parametrize("next_before", [117, None])
def test_the_shape_of_a_message_list(next_before: int | None) -> None:
    page = FolderPage("INBOX", 142, (SUMMARY,), next_before)
    assert _json(translate.message_list(page)) == {
        "folder": "INBOX",
        "total": 142,
        "messages": [
            {
                "uid": 142,
                "messageId": "<x@example.com>",
                "subject": "re: launch",
                "from": ["Lena <lena@example.com>"],
                "to": ["alice@acme.com"],
                "cc": [],
                "date": "2026-05-03T08:14:22.000Z",
                "flags": ["\\Seen"],
                "size": 4821,
                "seen": True,
            }
        ],
        "nextBefore": next_before,
    }


def test_the_shape_of_a_message() -> None:
    deck = AttachmentInfo("deck.pdf", "application/pdf", 184221, None)
    detail = MessageDetail(SUMMARY, "saw the launch", "<p>saw the launch</p>", (deck,))
    assert _json(translate.message(detail)) == {
        "uid": 142,
        "messageId": "<x@example.com>",
        "subject": "re: launch",
        "from": "Lena <lena@example.com>",
        "to": "alice@acme.com",
        "cc": None,
        "date": "2026-05-03T08:14:22.000Z",
        "text": "saw the launch",
        "html": "<p>saw the launch</p>",
        "attachments": [
            {
                "filename": "deck.pdf",
                "contentType": "application/pdf",
                "size": 184221,
                "contentId": None,
            }
        ],
        "flags": ["\\Seen"],
        "seen": True,
    }


def test_a_reputation_that_was_looked_up_is_shown() -> None:
    row = Address(ip="203.0.113.7", version=4, ptr_name="x.fleetlab.net", host_id=uuid4())
    row.reputation_at, row.reputation_flags = DAY, ["listed"]
    shown = translate.ip(row)
    assert (shown.last_reputation_at, shown.reputation_flags) == (
        "2026-05-03T08:14:22.000Z",
        ["listed"],
    )
