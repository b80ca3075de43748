"""/keys."""

from litestar import delete, get, post
from litestar.params import FromPath, JSONBody

from api.adbtd import schemas, translate
from api.adbtd.requests import FromCaller, FromCore, parse_id
from orchestrator.db import reading, writing
from orchestrator.models import KeyScope
from orchestrator.services import keys as service
from orchestrator.services.keys import Limits
from orchestrator.services.rights import Right

TAGS = ["API keys"]


@get("/keys", sync_to_thread=True, tags=TAGS, right=Right.READ)
def list_keys(core: FromCore, caller: FromCaller) -> schemas.Data[list[schemas.Key]]:
    """The workspace's keys that are not revoked, without their secrets."""
    with reading(core.engine) as session:
        rows = service.list_(session, caller.workspace, revoked=False)
    return schemas.Data([translate.key(row) for row in rows])


@post("/keys", status_code=200, sync_to_thread=True, tags=TAGS, right=Right.MANAGE_KEYS)
def create_key(
    core: FromCore, caller: FromCaller, data: JSONBody[schemas.CreateKey]
) -> schemas.Data[schemas.NewKey]:
    """Make a key; its token is in this answer, and nowhere else afterwards."""
    mailbox = None if data.mailbox_id is None else parse_id("mb", data.mailbox_id)
    limits = Limits(KeyScope(data.scope), mailbox, data.expires_at, data.allowed_ips)
    with writing(core.engine) as session:
        made = service.create(session, caller.workspace, data.name, limits, maker=caller.key)
    return schemas.Data(translate.new_key(*made))


@delete(
    "/keys/{key_id:str}", status_code=200, sync_to_thread=True, tags=TAGS, right=Right.MANAGE_KEYS
)
def revoke_key(
    core: FromCore, caller: FromCaller, key_id: FromPath[str]
) -> schemas.Data[schemas.KeyRevoked]:
    """Revoke a key, at once and for good; also the one that is used."""
    with writing(core.engine) as session:
        row = service.revoke(session, caller.workspace, parse_id("key", key_id))
    return schemas.Data(schemas.KeyRevoked(revoked=translate.public_id("key", row.id)))


HANDLERS = [list_keys, create_key, revoke_key]
