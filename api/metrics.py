"""``GET /metrics``: the fleet's figures for Prometheus, behind the operator's token."""

from litestar import Litestar, Request, Response, get
from litestar.handlers import HTTPRouteHandler
from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.exposition import choose_encoder

from api.adbtd.errors import EXCEPTION_HANDLERS
from api.auth import operator_guard
from api.core import Core
from orchestrator.census import Census

PATH = "/metrics"


def create_app(core: Core) -> Litestar:
    """The one route.

    :raises ConfigurationError: when the operator's token can't be used.
    """
    return Litestar(
        [_metrics(core)],
        guards=[operator_guard(core)],
        exception_handlers=EXCEPTION_HANDLERS,
        openapi_config=None,
        logging_config=None,
    )


def _metrics(core: Core) -> HTTPRouteHandler:
    registry = CollectorRegistry()
    registry.register(Census(core.engine))
    ProcessCollector(registry=registry)

    @get(PATH, sync_to_thread=True)
    def metrics(request: Request) -> Response[bytes]:  # type: ignore[type-arg]
        """The figures, in the exposition format that the client asks for."""
        encode, media_type = choose_encoder(request.headers.get("accept", ""))
        return Response(encode(registry), media_type=media_type)

    return metrics
