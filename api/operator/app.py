"""The operator's view as an application of its own, behind the operator's token."""

import msgspec
from litestar import Litestar, get
from litestar.handlers import HTTPRouteHandler

from api.adbtd.errors import EXCEPTION_HANDLERS
from api.auth import operator_guard
from api.core import Core
from api.operator import runs
from orchestrator import overview
from orchestrator.conditions import Status
from orchestrator.db import reading

BASE_PATH = "/operator/v1"


class ConditionView(msgspec.Struct, rename="camel"):
    """One condition of a host, an address or a domain, and what to do about it."""

    kind: str
    subject: str
    condition: str
    status: str
    reason: str
    message: str
    remedy: str
    since: str | None


class StatusView(msgspec.Struct, rename="camel"):
    """``converged`` is whether everything holds that is ours to make hold."""

    converged: bool
    conditions: list[ConditionView]


class StatusAnswer(msgspec.Struct):
    """The answer of ``GET /status``."""

    data: StatusView


def create_app(core: Core) -> Litestar:
    """The operator's routes below ``BASE_PATH``.

    :raises ConfigurationError: when the token's file can't be used.
    """
    return Litestar(
        [_status(core), *runs.handlers(core)],
        path=BASE_PATH,
        guards=[operator_guard(core)],
        exception_handlers=EXCEPTION_HANDLERS,
        openapi_config=None,
        logging_config=None,
    )


def _status(core: Core) -> HTTPRouteHandler:
    @get("/status", sync_to_thread=True)
    def status() -> StatusAnswer:
        """Every condition of the fleet, from the last observation."""
        with reading(core.engine) as session:
            lines = overview.lines(session)
        faults = [line for line in lines if not line.informative and line.status != Status.TRUE]
        views = [ConditionView(**line.as_dict(), remedy=line.remedy) for line in lines]
        return StatusAnswer(StatusView(converged=not faults, conditions=views))

    return status
