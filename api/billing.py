"""``POST /billing/stripe``: the payment service tells that something has changed for a customer."""

import asyncio
from typing import Any

from litestar import Litestar, Request, post
from litestar.handlers import HTTPRouteHandler

from api.adbtd.errors import EXCEPTION_HANDLERS
from api.core import Core
from orchestrator.db import writing
from orchestrator.errors import NotFound
from orchestrator.services import billing

PATH = "/billing/stripe"
#: Bytes that a notice may have: Stripe's own have some thousands.
NOTICE_SIZE = 1024 * 1024


def create_app(core: Core) -> Litestar:
    """The one route; it asks for no token: notices are signed."""
    return Litestar(
        [_stripe(core)],
        exception_handlers=EXCEPTION_HANDLERS,
        request_max_body_size=NOTICE_SIZE,
        openapi_config=None,
        logging_config=None,
    )


def _stripe(core: Core) -> HTTPRouteHandler:
    @post(PATH, status_code=200)
    async def stripe(request: Request[Any, Any, Any]) -> dict[str, bool]:
        """Look at the customer's account soon.

        https://docs.stripe.com/webhooks
        """
        biller = core.payments.biller
        if biller is None:
            raise NotFound("nobody is charged here")
        customer = biller.concerned(
            await request.body(), request.headers.get("stripe-signature", "")
        )
        if customer is not None:
            await asyncio.to_thread(_notify, core, customer)
        return {"received": True}

    return stripe


def _notify(core: Core, customer: str) -> None:
    with writing(core.engine) as session:
        billing.notified(session, customer)
