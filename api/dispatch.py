"""Which dialect a request is for, and one log line about each."""

import logging
import time
from collections.abc import Mapping

from litestar.types import ASGIApp, Message, Receive, Scope, Send

logger = logging.getLogger("mailfleet.api")


class Dispatcher:
    """One ASGI application of several: each dialect has the paths below its base path.

    Where one's base path is below another's, the longer one has them.

    :param dialects: base path (without trailing slash) to application.
    :param shell: gets everything else, and the server's lifespan events.
    """

    def __init__(self, dialects: Mapping[str, ASGIApp], shell: ASGIApp) -> None:
        self._dialects = sorted(dialects.items(), key=lambda item: len(item[0]), reverse=True)
        self._shell = shell

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand the request on."""
        kind: str = scope["type"]
        if kind == "lifespan":
            await self._shell(scope, receive, send)
            return
        path: str = scope["path"]
        app = next((app for base, app in self._dialects if _below(path, base)), self._shell)
        await _logged(app, scope, receive, send)


def _below(path: str, base: str) -> bool:
    return path == base or path.startswith(f"{base}/")


async def _logged(app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
    started = time.perf_counter()
    # Applications rewrite the scope's path. Of the request nothing else is logged: headers,
    # bodies and queries may hold secrets.
    path, status = scope["path"], 0

    async def watch(message: Message) -> None:
        nonlocal status
        if message["type"] == "http.response.start":
            status = message["status"]
        await send(message)

    try:
        await app(scope, receive, watch)
    finally:
        spent = (time.perf_counter() - started) * 1000
        method = scope.get("method", scope["type"])
        logger.info("%s %r %d %.1f ms", method, path, status, spent)
