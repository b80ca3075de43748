"""Stripe: a subscription for each kind of thing, whose quantity follows what there is.

Nothing that a webhook says is believed: it only says that it is time to look. What counts is
what Stripe answers when it is asked, so a notice that is lost, late or told twice does no harm.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import Any

import stripe

from orchestrator.billing.biller import Account, Checkout, Kind, Standing, Subscribed
from orchestrator.errors import Away, Invalid

#: Seconds that one request may take, how often it is repeated, and how old a notice may be.
TIMEOUT = 10
RETRIES = 2
TOLERANCE = 300
#: https://docs.stripe.com/api/subscriptions/object#subscription_object-status
ENDED = frozenset({"canceled", "incomplete_expired"})
BEHIND = frozenset({"past_due", "unpaid", "incomplete"})
#: In the metadata of each subscription: which kind it is for.
KIND = "mailfleet_kind"


class Stripe:
    """A Stripe account.

    :param key: its secret key; a restricted one needs to write customers, subscriptions,
        invoices and checkout sessions, and to read payment methods.
    :param webhook_secret: what its notices are signed with (``whsec_…``).
    :param prices: the recurring price of one of each kind, by its id; kinds without are free.
    :param return_url: where the customer's browser goes after a checkout, done or given up.
    :param api_url: of the API, where it is another than Stripe's own.
    """

    def __init__(
        self,
        key: str,
        webhook_secret: str,
        prices: Mapping[Kind, str],
        return_url: str,
        api_url: str = "",
    ) -> None:
        self._client = stripe.StripeClient(
            key,
            base_addresses={"api": api_url} if api_url else {},
            max_network_retries=RETRIES,
            http_client=stripe.RequestsClient(timeout=TIMEOUT),
        )
        self._webhook_secret = webhook_secret
        self._prices = {kind: price for kind, price in prices.items() if price}
        self._return_url = return_url

    def open(self, reference: str, name: str) -> str:
        """See ``Biller``; repeated within a day it is the same customer (idempotency key)."""
        with _explained():
            customer = self._client.v1.customers.create(
                {"name": name, "metadata": {"mailfleet_workspace": reference}},
                {"idempotency_key": f"mailfleet-customer-{reference}"},
            )
        return customer.id

    def settle(self, customer: str, quantities: Mapping[Kind, int]) -> Account:
        """See ``Biller``."""
        with _explained():
            every = self._subscriptions(customer)
            standing = self._standing(customer, every)
            running = {kind: row for kind, row in every.items() if row.status not in ENDED}
            for kind in Kind:
                wanted = quantities.get(kind, 0) if kind in self._prices else 0
                if kind in running:
                    self._adjust(kind, running[kind], wanted)
                elif wanted and standing is Standing.GOOD:
                    self._subscribe(customer, kind, wanted, every.get(kind))
            every = self._subscriptions(customer)
            return Account(self._standing(customer, every), dict(_subscribed(every)))

    def checkout(self, customer: str, currency: str) -> Checkout:
        """See ``Biller``. Only a payment method is taken: what there is to pay comes later."""
        with _explained():
            session = self._client.v1.checkout.sessions.create(
                {
                    "mode": "setup",
                    "customer": customer,
                    "currency": currency,
                    "success_url": self._return_url,
                    "cancel_url": self._return_url,
                }
            )
        if session.url is None:
            raise Away("Stripe made a checkout session without a URL")
        return Checkout(session.url, datetime.fromtimestamp(session.expires_at, UTC))

    def concerned(self, payload: bytes, signature: str) -> str | None:
        """See ``Biller``; https://docs.stripe.com/webhooks#verify-official-libraries."""
        try:
            event = stripe.Webhook.construct_event(
                payload, signature, self._webhook_secret, TOLERANCE
            )
        except (ValueError, stripe.SignatureVerificationError):
            raise Invalid("this is not signed by the payment service, or too old") from None
        subject = event.data.object
        customer = (
            subject.id if subject.object == "customer" else getattr(subject, "customer", None)
        )
        return customer if isinstance(customer, str) else None

    def _subscriptions(self, customer: str) -> dict[Kind, stripe.Subscription]:
        # Stripe lists the newest first: the running one of a kind, or else the last that ended.
        pages = self._client.v1.subscriptions.list(
            {"customer": customer, "status": "all", "limit": 100}
        )
        rows = pages.auto_paging_iter()
        found: dict[Kind, stripe.Subscription] = {}
        for row in sorted(rows, key=lambda row: row.status in ENDED):
            kind = str(row.metadata.to_dict().get(KIND)) if row.metadata else ""
            with suppress(ValueError):  # a subscription that the operator made
                found.setdefault(Kind(kind), row)
        return found

    def _standing(self, customer: str, rows: Mapping[Kind, stripe.Subscription]) -> Standing:
        methods = self._client.v1.payment_methods.list({"customer": customer, "limit": 100}).data
        if not methods:
            return Standing.NO_PAYMENT_METHOD
        behind = [row for row in rows.values() if row.status in BEHIND]
        newest = methods[0]
        default = self._default(customer)
        if default is None or (behind and default != newest.id):
            # A new card was left for what the old one did not pay.
            self._client.v1.customers.update(
                customer, {"invoice_settings": {"default_payment_method": newest.id}}
            )
            behind = [row for row in behind if not self._paid(row)]
        return Standing.PAST_DUE if behind else Standing.GOOD

    def _default(self, customer: str) -> str | None:
        settings = self._client.v1.customers.retrieve(customer).invoice_settings
        method = settings.default_payment_method if settings is not None else None
        return method if method is None or isinstance(method, str) else method.id

    def _paid(self, row: stripe.Subscription) -> bool:
        invoice = row.latest_invoice
        if invoice is None:
            return True
        try:
            paid = self._client.v1.invoices.pay(invoice if isinstance(invoice, str) else invoice.id)
        except (stripe.CardError, stripe.InvalidRequestError):
            return False
        return paid.status == "paid"

    def _adjust(self, kind: Kind, row: stripe.Subscription, wanted: int) -> None:
        (item,) = _items(row)
        if not wanted:
            self._client.v1.subscriptions.cancel(row.id, {"prorate": True, "invoice_now": True})
        elif item.quantity != wanted or item.price.id != self._prices[kind]:
            change: Any = {"id": item.id, "price": self._prices[kind], "quantity": wanted}
            self._client.v1.subscriptions.update(row.id, {"items": [change], "off_session": True})

    def _subscribe(
        self, customer: str, kind: Kind, wanted: int, last: stripe.Subscription | None
    ) -> None:
        # Two processes that find none at the same moment make one.
        key = f"mailfleet-{customer}-{kind}-{last.id if last else 'first'}-{wanted}"
        self._client.v1.subscriptions.create(
            {
                "customer": customer,
                "items": [{"price": self._prices[kind], "quantity": wanted}],
                "metadata": {KIND: kind.value},
                "off_session": True,
            },
            {"idempotency_key": key},
        )


def _items(row: stripe.Subscription) -> list[stripe.SubscriptionItem]:
    # ``row.items`` is the mapping's method.
    items: stripe.ListObject[stripe.SubscriptionItem] = row["items"]
    return items.data


def _subscribed(rows: Mapping[Kind, stripe.Subscription]) -> Iterator[tuple[Kind, Subscribed]]:
    for kind, row in rows.items():
        if row.status not in ENDED:
            yield kind, Subscribed(row.id, _items(row)[0].quantity or 0)


@contextmanager
def _explained() -> Iterator[None]:
    # What Stripe says may quote the key: its code and request id are enough to look it up.
    try:
        yield
    except stripe.StripeError as error:
        code = error.code or type(error).__name__
        about = f", request {error.request_id}" if error.request_id else ""
        raise Away(f"Stripe: {code} (status {error.http_status}{about})") from None
