"""localstripe, with what it lacks and we use; run as a program, it listens on a loopback port.

localstripe is a real implementation of much of Stripe's API: cards that are declined, invoices,
signed webhooks. Added here, after Stripe's reference: checkout sessions in mode ``setup``, each
upon localstripe's own SetupIntent; ``price`` beside its older name ``plan``; ``off_session`` and
parameters of cancelling, which change nothing here; lists with the newest first; and idempotency
keys, which localstripe takes no notice of.
"""

import json
import sys
import time
from typing import Any

from aiohttp import web
from localstripe import resources, server
from localstripe.resources import (
    Customer,
    PaymentMethod,
    SetupIntent,
    StripeObject,
    Subscription,
    SubscriptionItem,
)

#: Answers of requests with an idempotency key.
_answers: dict[str, tuple[bytes, int]] = {}


class CheckoutSession(StripeObject):  # type: ignore[misc]
    """https://docs.stripe.com/api/checkout/sessions."""

    object = "checkout.session"
    _id_prefix = "cs_"

    def __init__(
        self, mode: str, customer: str, currency: str, success_url: str, cancel_url: str
    ) -> None:
        Customer._api_retrieve(customer)
        if mode != "setup" or len(currency) != 3:
            raise server.UserError(400, "Bad request")
        super().__init__()
        self.mode = mode
        self.customer = customer
        self.currency = currency
        self.success_url = success_url
        self.cancel_url = cancel_url
        self.setup_intent = SetupIntent(customer=customer).id
        self.status = "open"
        self.expires_at = int(time.time()) + 86400
        self.url = f"https://checkout.stripe.com/c/pay/{self.id}"

    @classmethod
    def _pay(cls, id: str, payment_method: str) -> Any:
        """What a person does on the page: confirm the intent with a card of theirs."""
        session = cls._api_retrieve(id)
        intent = SetupIntent._api_confirm(session.setup_intent, payment_method=payment_method)
        PaymentMethod._api_attach(intent.payment_method, customer=session.customer)
        session.status = "complete"
        resources.schedule_webhook(resources.Event("checkout.session.completed", session))
        return session


def _with_price(items: list[dict[str, Any]] | None) -> list[dict[str, Any]] | None:
    return items and [
        {{"price": "plan"}.get(key, key): value for key, value in item.items() if key != "id"}
        for item in items
    ]


def _newest_first(page: Any) -> Any:
    page._list.reverse()
    return page


def _adapt() -> None:
    create, update, end = (
        Subscription._api_create,
        Subscription._api_update,
        Subscription._api_delete,
    )

    def make(off_session: Any = None, items: Any = None, **data: Any) -> Any:
        return create(items=_with_price(items), **data)

    def change(id: str, off_session: Any = None, items: Any = None, **data: Any) -> Any:
        return update(id, items=_with_price(items), **data)

    def cards(url: str, customer: Any = None, type: str = "card", **data: Any) -> Any:
        return _newest_first(listed(url, customer=customer, type=type, **data))

    def subscriptions(url: str, **data: Any) -> Any:
        return _newest_first(subscribed(url, **data))

    listed, subscribed = PaymentMethod._api_list_all, Subscription._api_list_all
    Subscription._api_create = staticmethod(make)
    Subscription._api_update = staticmethod(change)
    Subscription._api_delete = staticmethod(lambda id, **_: end(id))
    Subscription._api_list_all = staticmethod(subscriptions)
    PaymentMethod._api_list_all = staticmethod(cards)
    SubscriptionItem.price = property(lambda self: self.plan)


@web.middleware
async def _idempotent(request: web.Request, handler: Any) -> Any:
    key = request.headers.get("Idempotency-Key")
    if key is None or not key.startswith("mailfleet-"):
        return await handler(request)
    if key not in _answers:
        response = await handler(request)
        _answers[key] = (response.body, response.status)
    body, status = _answers[key]
    return web.json_response(json.loads(body), status=status)


async def _pay(request: web.Request) -> Any:
    data = await request.json()
    session = CheckoutSession._pay(request.match_info["id"], data["payment_method"])
    return server.json_response(session._export())


async def _renewal(request: web.Request) -> Any:
    # The next period begins, as it would a month later.
    subscription = Subscription._api_retrieve(request.match_info["id"])
    subscription._create_invoice()
    return server.json_response(subscription._export())


def main(port: int) -> None:
    """Listen until killed."""
    _adapt()
    app = server.app
    app.middlewares.append(_idempotent)
    path = "/v1/checkout/sessions"
    app.router.add_post(path, server.api_create(CheckoutSession, path))
    app.router.add_get(f"{path}/{{id}}", server.api_retrieve(CheckoutSession, path))
    app.router.add_post("/_config/checkout/{id}", _pay)
    app.router.add_post("/_config/renewal/{id}", _renewal)
    resources.store.dump_to_disk = lambda: None
    web.run_app(app, host="127.0.0.1", port=port, print=None)


if __name__ == "__main__":
    main(int(sys.argv[1]))
