"""GET /me."""

from litestar import get

from api.adbtd import schemas, translate
from api.adbtd.requests import FromCaller


@get("/me", sync_to_thread=False, tags=["Workspace"])
def me(caller: FromCaller) -> schemas.Data[schemas.Me]:
    """The workspace of the API key."""
    return schemas.Data(translate.me(*caller))
