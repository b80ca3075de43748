"""The adbtd dialect as an application of its own."""

from functools import partial

from litestar import Litestar, Router
from litestar.di import Provide
from litestar.middleware import DefineMiddleware

from api import docs
from api.adbtd import (
    aliases,
    domains,
    ips,
    keys,
    logins,
    mailboxes,
    orders,
    receive,
    scheduled,
    send,
    templates,
    workspace,
)
from api.adbtd.errors import DOCUMENTED, EXCEPTION_HANDLERS
from api.adbtd.requests import StrictRequest, parse_id, provide_caller
from api.auth import BearerAuthentication
from api.core import Core
from api.idempotency import Idempotency
from api.options import Options

BASE_PATH = "/api/v1"

HANDLERS = [
    workspace.me,
    *keys.HANDLERS,
    *domains.HANDLERS,
    *ips.HANDLERS,
    *mailboxes.HANDLERS,
    *logins.HANDLERS,
    *aliases.HANDLERS,
    *send.HANDLERS,
    *scheduled.HANDLERS,
    *templates.HANDLERS,
    *receive.HANDLERS,
    *orders.HANDLERS,
]


def create_app(core: Core) -> Litestar:
    """The dialect's routes below ``BASE_PATH``."""

    def provide_core() -> Core:
        return core

    # Litestar wraps a handler anew whenever another one of its path is registered; the third
    # breaks the first. A router's are registered together.
    handlers = Router("/", route_handlers=docs.describe(HANDLERS, DOCUMENTED))
    return Litestar(
        [handlers],
        path=BASE_PATH,
        request_class=StrictRequest,
        dependencies={
            "core": Provide(provide_core, sync_to_thread=False),
            "caller": Provide(provide_caller, sync_to_thread=False),
        },
        exception_handlers=EXCEPTION_HANDLERS,
        middleware=[
            Options,
            DefineMiddleware(
                BearerAuthentication,
                core=core,
                exclude=f"^{BASE_PATH}/docs",
                parse_mailbox=partial(parse_id, "mb"),
            ),
            DefineMiddleware(Idempotency, core=core),
        ],
        request_max_body_size=core.settings.request_size_limit,
        openapi_config=docs.openapi(
            title="Mailfleet",
            version="1",
            description="Domains, dedicated IPs and mailboxes; sending and reading mail.",
        ),
        logging_config=None,
    )
