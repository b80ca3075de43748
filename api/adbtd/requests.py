"""What every handler of the dialect needs of a request."""

from typing import Annotated, Any, Literal
from uuid import UUID

from litestar.params import QueryParameter

from api.requests import FromCaller, FromCore, JsonRequest, provide_caller
from orchestrator.errors import NotFound

__all__ = ["Fate", "FromCaller", "FromCore", "StrictRequest", "parse_id", "provide_caller"]

#: What becomes of the mail of what is deleted.
Fate = Annotated[Literal["keep", "purge"], QueryParameter(name="mail")]


class StrictRequest(JsonRequest):
    """Decodes a JSON body to what its handler takes."""

    async def json(self) -> Any:
        """The decoded body.

        :raises Invalid: when it is not JSON, or of another shape.
        """
        return await self.decoded(self.shape)


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
