"""/orders."""

from typing import Annotated

from litestar import get
from litestar.params import FromPath, FromQuery, QueryParameter

from api.adbtd import schemas, translate
from api.adbtd.requests import FromCaller, FromCore, parse_id
from orchestrator.db import reading
from orchestrator.services import orders as service
from orchestrator.services import provisioning
from orchestrator.services.rights import Right

TAGS = ["Orders"]

Limit = Annotated[int, QueryParameter(ge=1, le=service.MOST)]


@get("/orders", sync_to_thread=True, tags=TAGS, right=Right.READ)
def list_orders(
    core: FromCore, caller: FromCaller, limit: Limit = 25, before: FromQuery[str | None] = None
) -> schemas.Data[list[schemas.Order]]:
    """Orders, newest first; those before the order of that id."""
    last = None if before is None else parse_id("ord", before)
    with reading(core.engine) as session:
        rows = service.list_(session, caller.workspace, limit=limit, before=last)
        judged = [(row, provisioning.judge(session, row)) for row in rows]
    return schemas.Data([translate.order(row, verdict) for row, verdict in judged])


@get("/orders/{order_id:str}", sync_to_thread=True, tags=TAGS, right=Right.READ)
def get_order(
    core: FromCore, caller: FromCaller, order_id: FromPath[str]
) -> schemas.Data[schemas.Order]:
    """One order: how far it is, and what it waits for or why it failed."""
    with reading(core.engine) as session:
        row = service.get(session, caller.workspace, parse_id("ord", order_id))
        verdict = provisioning.judge(session, row)
    return schemas.Data(translate.order(row, verdict))


HANDLERS = [list_orders, get_order]
