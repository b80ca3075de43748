"""GET /me."""

from litestar import get

from api.adbtd import schemas, translate
from api.adbtd.requests import FromCaller
from orchestrator.services.rights import Right


@get("/me", sync_to_thread=False, tags=["Workspace"], right=Right.IDENTITY)
def me(caller: FromCaller) -> schemas.Data[schemas.Me]:
    """The workspace of the API key."""
    return schemas.Data(translate.me(*caller))
