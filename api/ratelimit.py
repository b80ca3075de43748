"""How fast requests may come with one API key."""

import asyncio

from litestar.types import ASGIApp, Receive, Scope, Send

from api.auth import Caller
from api.core import Core
from orchestrator.db import writing
from orchestrator.models import Bucket
from orchestrator.services import allowances, keys, rights


class RateLimit:
    """Counts every request that was let in, before its body is read.

    :raises ConfigurationError: when a rate of the settings is none.
    """

    def __init__(self, app: ASGIApp, core: Core) -> None:
        self._app = app
        self._core = core
        self._rates = allowances.of_settings(core.settings)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand the request on.

        :raises RateLimited: when it comes too soon.
        """
        caller = scope.get("user")
        if isinstance(caller, Caller):
            bucket = rights.bucket(scope["route_handler"].opt["right"])
            await asyncio.to_thread(self._charge, caller, bucket)
        await self._app(scope, receive, send)

    def _charge(self, caller: Caller, bucket: Bucket) -> None:
        now, rate = self._core.clock(), allowances.rate(caller.key, bucket, self._rates)
        with writing(self._core.engine, durable=False) as session:
            keys.touch(session, caller.key, now)
            allowances.charge(session, caller.key, bucket, rate, now)
