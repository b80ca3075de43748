"""/mailboxes."""

from litestar import delete, get, post
from litestar.params import FromPath, JSONBody

from api.adbtd import schemas, translate
from api.adbtd.requests import Fate, FromCaller, FromCore, parse_id
from orchestrator.db import reading, writing
from orchestrator.services import conditions
from orchestrator.services import mailboxes as service
from orchestrator.services.rights import Right

TAGS = ["Mailboxes"]


@get("/mailboxes", sync_to_thread=True, tags=TAGS, right=Right.READ)
def list_mailboxes(core: FromCore, caller: FromCaller) -> schemas.Data[list[schemas.Mailbox]]:
    """All mailboxes, with the hosts and ports to connect to."""
    with reading(core.engine) as session:
        rows = service.list_(session, caller.workspace)
        observed = conditions.get_all(session, {row.host.id for row in rows})
    return schemas.Data([translate.mailbox(row, observed) for row in rows])


@get("/mailboxes/{mailbox_id:str}", sync_to_thread=True, tags=TAGS, right=Right.READ)
def get_mailbox(
    core: FromCore, caller: FromCaller, mailbox_id: FromPath[str]
) -> schemas.Data[schemas.Mailbox]:
    """Connection details of one mailbox."""
    with reading(core.engine) as session:
        row = service.get(session, caller.workspace, parse_id("mb", mailbox_id))
        observed = conditions.get_all(session, [row.host.id])
    return schemas.Data(translate.mailbox(row, observed))


@post("/mailboxes", status_code=200, sync_to_thread=True, tags=TAGS, right=Right.WRITE)
def create_mailboxes(
    core: FromCore, caller: FromCaller, data: JSONBody[schemas.CreateMailboxes]
) -> schemas.Data[schemas.MailboxOrder]:
    """Create mailboxes, all or none; their domains must be on the workspace."""
    core.payments.require(caller.workspace)
    with writing(core.engine) as session:
        order = service.create(session, core.vault, core.settings, caller.workspace, data.emails)
    return schemas.Data(translate.mailbox_order(order))


@delete(
    "/mailboxes/{mailbox_id:str}",
    status_code=200,
    sync_to_thread=True,
    tags=TAGS,
    right=Right.WRITE,
)
def delete_mailbox(
    core: FromCore, caller: FromCaller, mailbox_id: FromPath[str], mail: Fate = "keep"
) -> schemas.Data[schemas.MailboxDeleted]:
    """Delete a mailbox; with mail=purge its mail, too."""
    key, purge = parse_id("mb", mailbox_id), mail == "purge"
    with writing(core.engine) as session:
        row = service.delete(session, caller.workspace, key, purge=purge)
    return schemas.Data(schemas.MailboxDeleted(deleted=row.email))


HANDLERS = [list_mailboxes, get_mailbox, create_mailboxes, delete_mailbox]
