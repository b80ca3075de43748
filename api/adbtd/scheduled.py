"""/scheduled: messages that wait for their time."""

from litestar import delete, get
from litestar.params import FromPath

from api.adbtd import send_schemas as schemas
from api.adbtd import send_translate
from api.adbtd.requests import FromCaller, FromCore, parse_id
from api.adbtd.schemas import Data
from orchestrator.db import reading, writing
from orchestrator.services import scheduled as service
from orchestrator.services.rights import Right

TAGS = ["Sending"]


@get("/scheduled", sync_to_thread=True, tags=TAGS, right=Right.READ)
def list_scheduled(core: FromCore, caller: FromCaller) -> Data[list[schemas.ScheduledMessage]]:
    """Scheduled messages, newest first: those that wait, and what became of the others."""
    with reading(core.engine) as session:
        rows = service.list_(session, caller.workspace)
    return Data([send_translate.scheduled_message(row) for row in rows])


@get("/scheduled/{scheduled_id:str}", sync_to_thread=True, tags=TAGS, right=Right.READ)
def get_scheduled(
    core: FromCore, caller: FromCaller, scheduled_id: FromPath[str]
) -> Data[schemas.ScheduledMessage]:
    """One scheduled message."""
    with reading(core.engine) as session:
        row = service.get(session, caller.workspace, parse_id("sch", scheduled_id))
    return Data(send_translate.scheduled_message(row))


@delete(
    "/scheduled/{scheduled_id:str}",
    status_code=200,
    sync_to_thread=True,
    tags=TAGS,
    right=Right.WRITE,
)
def cancel_scheduled(
    core: FromCore, caller: FromCaller, scheduled_id: FromPath[str]
) -> Data[schemas.ScheduledMessage]:
    """Take a message back; a conflict once it is being sent."""
    with writing(core.engine) as session:
        row = service.cancel(session, caller.workspace, parse_id("sch", scheduled_id))
    return Data(send_translate.scheduled_message(row))


HANDLERS = [list_scheduled, get_scheduled, cancel_scheduled]
