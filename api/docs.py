"""The browsable page of a dialect's OpenAPI description; it needs no outside network."""

from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from litestar import Router
from litestar.connection import ASGIConnection
from litestar.exceptions import NotFoundException
from litestar.handlers import BaseRouteHandler, HTTPRouteHandler
from litestar.openapi import OpenAPIConfig, ResponseSpec
from litestar.openapi.plugins import JsonRenderPlugin, SwaggerRenderPlugin
from litestar.openapi.spec import Components, SecurityScheme, Server
from litestar.static_files import create_static_files_router

#: Where the page's scripts and styles are served.
ASSETS = "/assets/swagger-ui"

# A second fence behind local assets: the browser refuses whatever is not from here.
_POLICY = (
    "default-src 'none'; connect-src 'self'; img-src 'self' data:; "
    "script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


def openapi(*, title: str, version: str, description: str) -> OpenAPIConfig:
    """Describe a dialect at ``docs`` and ``docs/openapi.json`` below its base path."""
    page = SwaggerRenderPlugin(
        path="/",
        js_url=f"{ASSETS}/swagger-ui-bundle.js",
        css_url=f"{ASSETS}/swagger-ui.css",
        standalone_preset_js_url=f"{ASSETS}/swagger-ui-standalone-preset.js",
        favicon=f"<link rel='icon' type='image/png' href='{ASSETS}/favicon-32x32.png'>",
    )
    scheme = SecurityScheme(type="http", scheme="bearer")
    return OpenAPIConfig(
        title=title,
        version=version,
        description=description,
        servers=[Server(url="/")],
        components=Components(security_schemes={"bearer": scheme}),
        security=[{"bearer": []}],
        render_plugins=[page, JsonRenderPlugin()],
        openapi_router=Router(
            path="/docs",
            route_handlers=[],
            include_in_schema=False,
            guards=[_known_page],
            response_headers={"Content-Security-Policy": _POLICY},
        ),
    )


def _known_page(connection: ASGIConnection[Any, Any, Any, Any], _: BaseRouteHandler) -> None:
    # Litestar answers unknown pages below the documentation with one of its own.
    if connection.path_params:
        raise NotFoundException


def describe(
    handlers: Sequence[HTTPRouteHandler], errors: dict[int, ResponseSpec]
) -> Sequence[HTTPRouteHandler]:
    """Name the handlers' operations after their functions, and describe how they fail."""
    for handler in handlers:
        function = handler.fn
        head, *words = function.__name__.split("_")
        handler.operation_id = head + "".join(word.capitalize() for word in words)
        handler.summary = (function.__doc__ or "").strip()
        handler.responses = errors
    return handlers


def assets() -> Router:
    """Serve the scripts and styles that the page loads."""
    directory = Path(str(files("swagger_ui") / "static"))
    return create_static_files_router(path=ASSETS, directories=[directory], include_in_schema=False)
