"""Stripe's counterpart on a free loopback port for one test session, and what people do there."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from labkit import wait_for

from orchestrator.settings import Settings

KEY = "sk_test_mailfleet_of_these_tests"
WEBHOOK_SECRET = "whsec_of_these_tests"
PRICES = {"domain": 100, "ip": 2500, "mailbox": 300}
GOOD_CARD = "pm_card_visa"
#: Can be left as a payment method, but not be charged.
EMPTY_CARD = "pm_card_chargeCustomerFail"


@dataclass(frozen=True)
class Counterpart:
    """A running one."""

    url: str

    def settings(self, settings: Settings, directory: Path) -> Settings:
        """The settings with which this one has tenants pay."""
        key, webhook = directory / "stripe.key", directory / "stripe.webhook"
        key.write_text(KEY + "\n")
        webhook.write_text(WEBHOOK_SECRET)
        return msgspec.structs.replace(
            settings,
            billing="stripe",
            stripe_key_file=key,
            stripe_webhook_secret_file=webhook,
            stripe_price_domain="price_domain",
            stripe_price_ip="price_ip",
            stripe_price_mailbox="price_mailbox",
            stripe_api_url=self.url,
            billing_return_url="https://panel.example.net/billing",
        )

    def call(self, method: str, path: str, **values: Any) -> Any:
        """A request as the owner of the Stripe account makes one."""
        answer = httpx.request(
            method,
            f"{self.url}{path}",
            headers={"Authorization": f"Bearer {KEY}"},
            json=values or None,
        )
        answer.raise_for_status()
        return answer.json() if answer.content else None

    def leave_card(self, checkout_url: str, card: str = GOOD_CARD) -> None:
        """Open the page and leave a card."""
        session = checkout_url.rpartition("/")[2]
        self.call("POST", f"/_config/checkout/{session}", payment_method=card)

    def running(self, customer: str) -> dict[str, int]:
        """What the customer is charged for: quantities by price."""
        rows = self.call("GET", f"/v1/subscriptions?customer={customer}&limit=100")["data"]
        items = [row["items"]["data"][0] for row in rows]
        return {item["price"]["id"]: item["quantity"] for item in items}

    def renew(self, customer: str) -> None:
        """Begin the next period of all the customer's subscriptions."""
        for row in self.call("GET", f"/v1/subscriptions?customer={customer}")["data"]:
            self.call("POST", f"/_config/renewal/{row['id']}")


@contextmanager
def serve() -> Iterator[Counterpart]:
    """Run it within the block, with the prices of one of each kind."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    program = Path(__file__).with_name("stripe_counterpart.py")
    environment = {**os.environ, "PYTHONWARNINGS": "ignore"}
    process = subprocess.Popen(
        [sys.executable, program, str(port)], env=environment, stdin=subprocess.DEVNULL
    )
    made = Counterpart(f"http://127.0.0.1:{port}")
    try:
        wait_for("Stripe's counterpart", lambda: _answers(made))
        for kind, amount in PRICES.items():
            made.call(
                "POST",
                "/v1/plans",
                id=f"price_{kind}",
                amount=amount,
                currency="usd",
                interval="month",
                product={"name": kind},
            )
        yield made
    finally:
        process.terminate()
        process.wait()


def _answers(counterpart: Counterpart) -> bool:
    try:
        counterpart.call("GET", "/v1/plans")
    except httpx.TransportError:
        return False
    return True


@pytest.fixture(scope="session")
def stripe() -> Iterator[Counterpart]:
    """Stripe's counterpart."""
    with serve() as counterpart:
        yield counterpart
