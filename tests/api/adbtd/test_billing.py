"""What tenants pay: 402 with a page for a card, and quantities that follow what there is."""

import hashlib
import hmac
import json
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import msgspec
import pytest
from apikit import serve
from labkit import Operator, wait_for
from litestar.testing import TestClient
from storekit import Store
from stripekit import EMPTY_CARD, GOOD_CARD, KEY, WEBHOOK_SECRET, Counterpart

from api.app import create_app
from api.dispatch import Dispatcher
from orchestrator import leases, payments
from orchestrator.billing.biller import Kind, Standing
from orchestrator.db import reading, writing
from orchestrator.errors import Away
from orchestrator.models import BillingAccount, Workspace, utcnow
from orchestrator.payments import Payments
from orchestrator.scheduler import Scheduler, Work
from orchestrator.services import billing

Client = TestClient[Dispatcher]

ORDERS = [
    ("/domains", {"name": "example.org"}),
    ("/ips", {"count": 1}),
    ("/mailboxes", {"emails": ["carol@acme.com"]}),
]


@pytest.fixture
def store(store: Store, stripe: Counterpart, tmp_path: Path) -> Store:
    """A control plane that has tenants pay."""
    store.settings = stripe.settings(store.settings, tmp_path)
    return store


@dataclass
class Case:
    """A workspace with a domain, an address and two mailboxes; its program, and who charges it."""

    client: Client
    stripe: Counterpart
    store: Store
    workspace: Workspace
    payments: Payments

    def get(self, path: str) -> Any:
        """The data of a list."""
        return self.client.get(f"/api/v1{path}").json()["data"]

    def post(self, path: str, body: object) -> httpx.Response:
        """Order something."""
        return self.client.post(f"/api/v1{path}", json=body)

    def delete(self, path: str) -> Any:
        """Delete something; the data of the answer."""
        answer = self.client.delete(f"/api/v1{path}")
        assert answer.status_code == 200, answer.text
        return answer.json()["data"]

    def account(self) -> BillingAccount:
        """How it stands, as written down."""
        with reading(self.store.engine) as session:
            row = billing.account(session, self.workspace)
        assert row is not None
        return row

    def due(self) -> list[UUID]:
        """What the reconciler has to settle."""
        with reading(self.store.engine) as session:
            return billing.due(session, utcnow())

    def settle(self) -> None:
        """Settle what is due, as the reconciler does."""
        for account_id in self.due():
            self.payments.settle(account_id)

    def leave_card(self, card: str = GOOD_CARD) -> None:
        """Be asked for a card, and leave one."""
        refused = self.post("/domains", {"name": "example.org"})
        assert refused.status_code == 402, refused.text
        self.stripe.leave_card(refused.json()["error"]["checkoutUrl"], card)

    def running(self) -> dict[str, int]:
        """What is charged for at Stripe."""
        return self.stripe.running(self.account().customer)


@pytest.fixture
def case(client: Client, stripe: Counterpart, store: Store, acme: Workspace, fleet: object) -> Case:
    return Case(client, stripe, store, acme, payments.from_settings(store.engine, store.settings))


@pytest.mark.parametrize(("path", "body"), ORDERS)
def test_an_order_without_a_card_is_402(case: Case, path: str, body: object) -> None:
    before = case.get("/mailboxes")
    answer = case.post(path, body)
    assert answer.status_code == 402
    error = answer.json()["error"]
    assert error["code"] == "payment_required"
    assert error["message"] == "the workspace has no saved payment method"
    assert error["checkoutUrl"].startswith("https://checkout.stripe.com/")
    assert case.get("/mailboxes") == before
    assert len(case.get("/domains")) == 1
    assert len(case.get("/ips")) == 1


def test_other_errors_have_no_checkout_url(client: Client) -> None:
    assert "checkoutUrl" not in client.get("/api/v1/mailboxes/mb_x").json()["error"]


def test_the_page_is_the_same_as_long_as_it_is_good(case: Case) -> None:
    first = case.post(*ORDERS[0]).json()["error"]["checkoutUrl"]
    assert case.post(*ORDERS[1]).json()["error"]["checkoutUrl"] == first
    with writing(case.store.engine) as session:
        row = session.get_one(BillingAccount, case.account().id)
        row.checkout_until = utcnow()
    assert case.post(*ORDERS[1]).json()["error"]["checkoutUrl"] != first


def test_once_a_card_is_left_orders_pass_without_any_notice(case: Case) -> None:
    case.leave_card()
    for path, body in ORDERS:
        assert case.post(path, body).status_code == 200


def test_quantities_follow_what_there_is_both_ways(case: Case) -> None:
    case.leave_card()
    for path, body in ORDERS:
        assert case.post(path, body).status_code == 200
    case.settle()
    running = {"price_domain": 2, "price_ip": 2, "price_mailbox": 3}
    assert case.running() == running
    case.settle()
    assert case.running() == running

    domains = case.get("/domains")
    assert case.delete(f"/domains/{domains[1]['id']}")
    mailboxes = case.get("/mailboxes")
    assert case.delete(f"/mailboxes/{mailboxes[0]['id']}")
    case.settle()
    assert case.running() == {"price_domain": 1, "price_ip": 2, "price_mailbox": 2}

    assert case.delete(f"/domains/{domains[0]['id']}")
    first, second = case.get("/ips")
    released = case.delete(f"/ips/{first['id']}")
    assert released == {"released": first["address"], "cancelledSubscription": False}
    case.settle()
    assert case.running() == {"price_ip": 1}
    released = case.delete(f"/ips/{second['id']}")
    assert released == {"released": second["address"], "cancelledSubscription": True}
    case.settle()
    assert case.running() == {}

    case.store.assign(case.workspace)
    case.settle()
    assert case.running() == {"price_ip": 1}


def test_whatever_changes_a_quantity_makes_the_account_due(case: Case) -> None:
    case.leave_card()
    for path, body in ORDERS:
        assert case.post(path, body).status_code == 200
        assert case.due()
        case.settle()
        assert not case.due()
    mailbox, domain = case.get("/mailboxes")[2], case.get("/domains")[1]
    address = case.get("/ips")[1]
    for path in (
        f"/mailboxes/{mailbox['id']}",
        f"/domains/{domain['id']}",
        f"/ips/{address['id']}",
    ):
        case.delete(path)
        assert case.due()
        case.settle()
        assert not case.due()


def test_a_card_that_can_not_be_charged_is_402_until_another_one_is_left(case: Case) -> None:
    case.leave_card(EMPTY_CARD)
    case.settle()
    refused = case.post("/ips", {"count": 1})
    assert refused.status_code == 402
    assert refused.json()["error"]["message"] == "the workspace's last invoice could not be paid"
    case.stripe.leave_card(refused.json()["error"]["checkoutUrl"])
    assert case.post("/ips", {"count": 1}).status_code == 200
    assert case.account().standing is Standing.GOOD


def test_an_unpaid_renewal_stops_orders_and_deletes_nothing(case: Case) -> None:
    case.leave_card()
    assert case.post("/ips", {"count": 1}).status_code == 200
    case.settle()
    customer = case.account().customer
    empty = case.stripe.call("GET", f"/v1/payment_methods/{EMPTY_CARD}")["id"]
    case.stripe.call("POST", f"/v1/payment_methods/{empty}/attach", customer=customer)
    case.stripe.call(
        "POST", f"/v1/customers/{customer}", invoice_settings={"default_payment_method": empty}
    )
    case.stripe.renew(customer)
    with writing(case.store.engine) as session:
        billing.notified(session, customer)
    case.settle()
    assert case.account().standing is Standing.PAST_DUE
    assert case.post("/ips", {"count": 1}).status_code == 402
    assert len(case.get("/mailboxes")) == 2
    assert len(case.get("/ips")) == 2


def test_an_account_is_tried_again_when_the_service_was_away(case: Case, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    nobody = Counterpart(f"http://127.0.0.1:{port}").settings(case.store.settings, tmp_path)
    away = payments.from_settings(case.store.engine, nobody)
    with pytest.raises(Away) as told:
        away.require(case.workspace)
    assert KEY not in str(told.value)
    assert case.post("/ips", {"count": 1}).status_code == 402
    row = case.account()
    away.settle(row.id)
    after = case.account()
    assert after.failures == 1
    assert after.message.startswith("Stripe: ")
    assert after.due_at > utcnow()


def test_a_wrong_key_is_503_and_told_to_nobody(
    case: Case, caplog: pytest.LogCaptureFixture
) -> None:
    assert case.store.settings.stripe_key_file is not None
    case.store.settings.stripe_key_file.write_text("pk_not_a_secret_key")
    with TestClient(create_app(case.store.settings), raise_server_exceptions=False) as wrong:
        wrong.headers["Authorization"] = case.client.headers["Authorization"]
        answer = wrong.post("/api/v1/domains", json={"name": "example.org"})
    assert answer.status_code == 503
    assert answer.json()["error"]["code"] == "internal_error"
    assert answer.headers["retry-after"].isdecimal()
    assert "pk_not_a_secret_key" not in answer.text + caplog.text


def signed(payload: bytes, at: float, secret: str = WEBHOOK_SECRET) -> dict[str, str]:
    """The header of a notice: https://docs.stripe.com/webhooks#verify-manually."""
    digest = hmac.new(secret.encode(), b"%d.%s" % (at, payload), hashlib.sha256).hexdigest()
    return {"Stripe-Signature": f"t={int(at)},v1={digest}", "Content-Type": "application/json"}


def notice(customer: str) -> bytes:
    subject = {"object": "invoice", "id": "in_1", "customer": customer}
    event = {"id": "evt_1", "object": "event", "type": "invoice.paid", "data": {"object": subject}}
    return json.dumps(event).encode()


def test_notices_forged_old_and_replayed_do_no_harm(case: Case, anonymous: Client) -> None:
    with pytest.raises(Exception, match="no saved payment method"):
        case.payments.require(case.workspace)
    row = case.account()
    assert row.due_at > utcnow()
    payload, now = notice(row.customer), time.time()
    for headers in (
        {},
        signed(payload, now, "whsec_of_somebody_else"),
        signed(payload, now - 600),
        signed(payload + b" ", now),
    ):
        answer = anonymous.post("/billing/stripe", content=payload, headers=headers)
        assert answer.status_code == 400
        assert answer.json()["error"]["code"] == "validation_error"
        assert case.account().due_at == row.due_at
    for _ in range(2):
        answer = anonymous.post("/billing/stripe", content=payload, headers=signed(payload, now))
        assert answer.status_code == 200
        assert case.account().due_at <= utcnow()
        case.settle()
    stranger = notice("cus_stranger")
    answer = anonymous.post("/billing/stripe", content=stranger, headers=signed(stranger, now))
    assert answer.status_code == 200


@pytest.fixture
def served(store: Store) -> Iterator[str]:
    """The API on a loopback port; gives its URL."""
    with serve(store.settings) as url:
        yield url


def test_stripe_itself_tells_the_api_and_the_reconciler_settles(case: Case, served: str) -> None:
    case.stripe.call(
        "POST", "/_config/webhooks/mailfleet", url=f"{served}/billing/stripe", secret=WEBHOOK_SECRET
    )
    put_off = partial(leases.put_off, case.store.engine, BillingAccount.due_at, 60)
    work = Work("account", billing.due, case.payments.settle, put_off)
    scheduler = Scheduler(case.store.engine, [work], [], lambda *_: None)
    scheduler.start()
    try:
        case.leave_card()
        wait_for("the standing", lambda: case.account().standing is Standing.GOOD, 30)
        wanted = {Kind.DOMAIN.value: 1, Kind.ADDRESS.value: 1, Kind.MAILBOX.value: 2}
        wait_for("the quantities", lambda: charged(case) == wanted, 30)
        assert case.post("/mailboxes", {"emails": ["carol@acme.com"]}).status_code == 200
        wanted[Kind.MAILBOX.value] = 3
        wait_for("one mailbox more", lambda: charged(case) == wanted, 30)
    finally:
        scheduler.close()


def charged(case: Case) -> dict[str, int]:
    return {kind: n for kind, (_, n) in case.account().subscriptions.items()}


def test_the_operator_lists_accounts_and_settles_one(case: Case, tmp_path: Path) -> None:
    config = tmp_path / "mailfleet.toml"
    values = {
        field: str(value)
        for field, value in msgspec.structs.asdict(case.store.settings).items()
        if field.startswith(("stripe_", "billing")) or field.endswith(("_url", "_key_file"))
    }
    config.write_text("".join(f"{name} = {json.dumps(v)}\n" for name, v in values.items()))

    operator = Operator(config)
    assert operator.json("mailfleet", "billing", "list") == []
    assert "has no account" in operator.run("mailfleet", "billing", "sync", "acme").stderr
    case.leave_card()
    (row,) = operator.json("mailfleet", "billing", "list")
    assert row["standing"] == "no_payment_method"
    assert row["differs"] == {"domain": [0, 1], "ip": [0, 1], "mailbox": [0, 2]}
    operator.ok("mailfleet", "billing", "sync", "acme")
    (row,) = operator.json("mailfleet", "billing", "list")
    assert row["standing"] == "good"
    assert row["charged"] == {"domain": 1, "ip": 1, "mailbox": 2}
    assert row["differs"] == {}
