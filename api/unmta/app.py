"""The unMTA dialect as an application of its own."""

from uuid import UUID

from litestar import Litestar, Router
from litestar.di import Provide
from litestar.middleware import DefineMiddleware

from api import docs
from api.auth import BearerAuthentication
from api.core import Core
from api.idempotency import Idempotency
from api.options import Options
from api.requests import provide_caller
from api.unmta import clusters, credentials, domains
from api.unmta.errors import DOCUMENTED, EXCEPTION_HANDLERS
from api.unmta.requests import CheckedRequest
from orchestrator.errors import NotFound
from orchestrator.services import keys

BASE_PATH = "/api/v1/clusters"

HANDLERS = [*clusters.HANDLERS, *domains.HANDLERS, *credentials.HANDLERS]


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
        request_class=CheckedRequest,
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
                # Nothing else: a cluster's id comes next in all other paths.
                exclude=f"^{BASE_PATH}/docs(/|$)",
                parse_mailbox=_no_mailbox,
                prefix=keys.USER_PREFIX,
            ),
            DefineMiddleware(Idempotency, core=core),
        ],
        request_max_body_size=core.settings.request_size_limit,
        openapi_config=docs.openapi(
            title="Mailfleet: clusters",
            version="1",
            description="Clusters of mail servers, their domains and SMTP credentials.",
        ),
        logging_config=None,
    )


def _no_mailbox(_: str) -> UUID:
    raise NotFound("clusters have no mailboxes")
