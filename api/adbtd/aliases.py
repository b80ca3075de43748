"""/mailboxes/:id/aliases."""

from litestar import delete, get, post
from litestar.params import FromPath, JSONBody

from api.adbtd import mailbox_schemas, schemas, translate
from api.adbtd.requests import FromCaller, FromCore, parse_id
from orchestrator.db import reading, writing
from orchestrator.services import aliases as service
from orchestrator.services.rights import Right

TAGS = ["Mailboxes"]


@get("/mailboxes/{mailbox_id:str}/aliases", sync_to_thread=True, tags=TAGS, right=Right.READ)
def list_aliases(
    core: FromCore, caller: FromCaller, mailbox_id: FromPath[str]
) -> schemas.Data[list[mailbox_schemas.Alias]]:
    """The further addresses of a mailbox, oldest first."""
    with reading(core.engine) as session:
        rows = service.list_(session, caller.workspace, parse_id("mb", mailbox_id))
    return schemas.Data([translate.alias(row) for row in rows])


@post(
    "/mailboxes/{mailbox_id:str}/aliases",
    status_code=200,
    sync_to_thread=True,
    tags=TAGS,
    right=Right.WRITE,
)
def add_alias(
    core: FromCore,
    caller: FromCaller,
    mailbox_id: FromPath[str],
    data: JSONBody[mailbox_schemas.AddAlias],
) -> schemas.Data[mailbox_schemas.Alias]:
    """Give a mailbox another address: mail to it arrives, and it may send with it."""
    with writing(core.engine) as session:
        row = service.add(session, caller.workspace, parse_id("mb", mailbox_id), data.email)
    return schemas.Data(translate.alias(row))


@delete(
    "/mailboxes/{mailbox_id:str}/aliases/{email:str}",
    status_code=200,
    sync_to_thread=True,
    tags=TAGS,
    right=Right.WRITE,
)
def delete_alias(
    core: FromCore, caller: FromCaller, mailbox_id: FromPath[str], email: FromPath[str]
) -> schemas.Data[mailbox_schemas.AliasDeleted]:
    """Take an address away from a mailbox; mail to it is refused from then on."""
    with writing(core.engine) as session:
        deleted = service.delete(session, caller.workspace, parse_id("mb", mailbox_id), email)
    return schemas.Data(mailbox_schemas.AliasDeleted(deleted=deleted))


HANDLERS = [list_aliases, add_alias, delete_alias]
