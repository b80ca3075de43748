"""What every handler of the dialect needs of a request."""

from uuid import UUID

from litestar import Request
from litestar.datastructures import State
from litestar.di import NamedDependency

from api.auth import Caller
from api.core import Core
from orchestrator.errors import Invalid, NotFound

FromCore = NamedDependency[Core]
FromCaller = NamedDependency[Caller]
CallerRequest = Request[Caller, None, State]

#: Methods whose body is read.
_WITH_BODY = {"POST", "PUT", "PATCH"}


async def require_json(request: CallerRequest) -> None:
    """Refuse bodies that do not say they are JSON, before they are read."""
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if request.method in _WITH_BODY and media_type != "application/json":
        raise Invalid("Content-Type is not application/json")


def provide_caller(request: CallerRequest) -> Caller:
    """Who is asking."""
    return request.user


def parse_id(prefix: str, text: str) -> UUID:
    """The key of an id such as ``mb_0192…``.

    :raises NotFound: when it can't be one: nothing has such an id.
    """
    kind, _, digits = text.partition("_")
    try:
        key = UUID(hex=digits)
    except ValueError:
        key = None
    if key is None or kind != prefix or digits != key.hex:
        raise NotFound("there is nothing of that id on this workspace")
    return key
