"""The API server: every dialect in one process."""

import socket

import uvicorn
from litestar import Litestar, Response, get
from litestar.handlers import HTTPRouteHandler
from litestar.status_codes import HTTP_503_SERVICE_UNAVAILABLE
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError
from typing_extensions import override

from api import adbtd, billing, docs, metrics, operator, unmta
from api.adbtd.errors import EXCEPTION_HANDLERS
from api.core import Clock, Core
from api.dispatch import Dispatcher
from orchestrator import db, logs
from orchestrator.models import utcnow
from orchestrator.readiness import ready
from orchestrator.settings import Settings


def create_app(settings: Settings, clock: Clock = utcnow) -> Dispatcher:
    """The ASGI application. The database must be of this version (``db.upgrade``).

    Routes of no dialect answer in the native one's error format.

    :param clock: tells what keys' expiry, rates and idempotency go by.
    :raises ConfigurationError: when a setting can't be used.
    """
    core = Core(settings, clock)
    shell = Litestar(
        [_health(core), docs.assets()],
        exception_handlers=EXCEPTION_HANDLERS,
        on_shutdown=[core.close],
        openapi_config=None,
        logging_config=None,
    )
    dialects = {
        adbtd.BASE_PATH: adbtd.create_app(core),
        unmta.BASE_PATH: unmta.create_app(core),
        operator.BASE_PATH: operator.create_app(core),
        metrics.PATH: metrics.create_app(core),
        billing.PATH: billing.create_app(core),
    }
    return Dispatcher(dialects, shell)


def _health(core: Core) -> HTTPRouteHandler:
    @get("/healthz", sync_to_thread=True)
    def healthz() -> Response[dict[str, str]]:
        """Whether this process can serve: its database answers."""
        try:
            with db.reading(core.engine) as session:
                session.execute(text("SELECT 1"))
        except SQLAlchemyError:
            return Response({"status": "unavailable"}, status_code=HTTP_503_SERVICE_UNAVAILABLE)
        return Response({"status": "ok"})

    return healthz


def serve(settings: Settings) -> None:
    """Bring the database to this version and serve until interrupted."""
    logs.configure(settings.log_format, settings.log_level)
    db.upgrade(settings.database_url)
    _Server(server_config(settings)).run()


class _Server(uvicorn.Server):
    """Says when it answers."""

    @override
    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        ready()


def server_config(settings: Settings) -> uvicorn.Config:
    """How uvicorn serves the application.

    :raises ConfigurationError: when a setting can't be used.
    """
    return uvicorn.Config(
        create_app(settings),
        host=settings.api_host,
        port=settings.api_port,
        log_config=None,
        # Ours says less: no query strings.
        access_log=False,
        server_header=False,
        # By default uvicorn believes whoever is on this machine.
        forwarded_allow_ips=settings.proxies(),
    )
