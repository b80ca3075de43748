"""What the handlers of every dialect need of a request."""

from typing import Any

import msgspec
from litestar import Request
from litestar.datastructures import State
from litestar.di import NamedDependency

from api.auth import Caller
from api.core import Core
from orchestrator.errors import Invalid

FromCore = NamedDependency[Core]
FromCaller = NamedDependency[Caller]


class JsonRequest(Request[Caller, None, State]):
    """A request whose body is JSON, and is called so."""

    @property
    def shape(self) -> Any:
        """What its handler takes as the body."""
        return self.route_handler.parsed_fn_signature.parameters["data"].annotation

    async def decoded(self, shape: Any) -> Any:
        """The body, strictly of that shape: ``"1"`` is no number.

        :raises Invalid: when it is not JSON, or of another shape.
        """
        media_type = self.headers.get("content-type", "").partition(";")[0].strip().lower()
        if media_type != "application/json":
            raise Invalid("Content-Type is not application/json", field="body")
        try:
            return msgspec.json.decode(await self.body(), type=shape)
        except msgspec.ValidationError as error:
            raise Invalid(str(error), field="body") from None
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise Invalid("the request body is not valid JSON", field="body") from None


def provide_caller(request: JsonRequest) -> Caller:
    """Who is asking."""
    return request.user
