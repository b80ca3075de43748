"""What every handler of the dialect needs of a request."""

from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec
from litestar import Request
from litestar.datastructures import State
from litestar.di import NamedDependency
from litestar.params import QueryParameter

from api.auth import Caller
from api.core import Core
from orchestrator.errors import Invalid, NotFound

FromCore = NamedDependency[Core]
FromCaller = NamedDependency[Caller]

#: What becomes of the mail of what is deleted.
Fate = Annotated[Literal["keep", "purge"], QueryParameter(name="mail")]


class StrictRequest(Request[Caller, None, State]):
    """Decodes a JSON body to what its handler takes, strictly: ``"1"`` is no number."""

    async def json(self) -> Any:
        """The decoded body.

        :raises Invalid: when it is not JSON, or of another shape.
        """
        media_type = self.headers.get("content-type", "").partition(";")[0].strip().lower()
        if media_type != "application/json":
            raise Invalid("Content-Type is not application/json")
        shape = self.route_handler.parsed_fn_signature.parameters["data"].annotation
        try:
            return msgspec.json.decode(await self.body(), type=shape)
        except msgspec.ValidationError as error:
            raise Invalid(str(error)) from None
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise Invalid("the request body is not valid JSON") from None


def provide_caller(request: StrictRequest) -> Caller:
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
