"""OPTIONS: which methods a path has."""

from litestar.types import ASGIApp, Receive, Scope, Send


class Options:
    """Answers OPTIONS with all methods of the path; anybody may ask.

    Litestar's own answer names those of the handler alone that was registered first.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or hand the request on."""
        if scope.get("method") != "OPTIONS":
            await self._app(scope, receive, send)
            return
        template = scope["path_template"]
        routes = [route for route in scope["litestar_app"].routes if route.path_format == template]
        methods = sorted({method for route in routes for method in route.methods})
        headers = [(b"allow", ", ".join(methods).encode())]
        await send({"type": "http.response.start", "status": 204, "headers": headers})
        await send({"type": "http.response.body", "body": b"", "more_body": False})
