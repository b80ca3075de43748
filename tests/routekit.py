"""A dialect's routes by name, for tests that call each of them."""

import re
from collections.abc import Mapping

from litestar.handlers import HTTPRouteHandler


def name(handler: HTTPRouteHandler) -> str:
    """Method and path below the dialect's, such as ``GET /domains/{domain_id:str}``."""
    (method,) = handler.http_methods
    (path,) = handler.paths
    return f"{method} {path}"


def path(base: str, route: str, ids: Mapping[str, str]) -> str:
    """The path of a route with these ids in it."""
    below = route.partition(" ")[2].rstrip("/")
    return base + re.sub(r"\{(\w+):\w+\}", lambda found: ids[found[1]], below)
