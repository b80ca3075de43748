"""What every dialect's application has: its routes, who may call them, how it is described."""

from collections.abc import Callable, Sequence
from typing import Any
from uuid import UUID

from litestar import Litestar, Router
from litestar.di import Provide
from litestar.handlers import HTTPRouteHandler
from litestar.middleware import DefineMiddleware
from litestar.openapi import ResponseSpec
from litestar.types import ExceptionHandlersMap

from api import docs
from api.auth import BearerAuthentication
from api.core import Core
from api.idempotency import Idempotency
from api.options import Options
from api.requests import JsonRequest, provide_caller


def application(
    core: Core,
    base_path: str,
    handlers: Sequence[HTTPRouteHandler],
    *,
    request_class: type[JsonRequest],
    errors: tuple[dict[int, ResponseSpec], ExceptionHandlersMap],
    tokens: str,
    parse_mailbox: Callable[[str], UUID],
    **description: Any,
) -> Litestar:
    """A dialect's routes below its base path, for requests with a bearer token.

    :param errors: how failures are described, and what answers them.
    :param tokens: the beginning of the tokens that it takes.
    :param parse_mailbox: see ``BearerAuthentication``.
    :param description: of the browsable page; see ``docs.openapi``.
    """

    def provide_core() -> Core:
        return core

    documented, exception_handlers = errors
    # Litestar wraps a handler anew whenever another one of its path is registered; the third
    # breaks the first. A router's are registered together.
    routes = Router("/", route_handlers=docs.describe(handlers, documented))
    return Litestar(
        [routes],
        path=base_path,
        request_class=request_class,
        dependencies={
            "core": Provide(provide_core, sync_to_thread=False),
            "caller": Provide(provide_caller, sync_to_thread=False),
        },
        exception_handlers=exception_handlers,
        middleware=[
            Options,
            DefineMiddleware(
                BearerAuthentication,
                core=core,
                # Nothing else: an id may come next in other paths.
                exclude=f"^{base_path}/docs(/|$)",
                parse_mailbox=parse_mailbox,
                prefix=tokens,
            ),
            DefineMiddleware(Idempotency, core=core),
        ],
        request_max_body_size=core.settings.request_size_limit,
        openapi_config=docs.openapi(**description),
        logging_config=None,
    )
