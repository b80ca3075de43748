"""/ips."""

from litestar import delete, get, post
from litestar.params import FromPath, JSONBody

from api.adbtd import schemas, translate
from api.adbtd.requests import FromCaller, FromCore, parse_id
from orchestrator.db import reading, writing
from orchestrator.services import addresses as service
from orchestrator.services import billing
from orchestrator.services.rights import Right

TAGS = ["Dedicated IPs"]


@get("/ips", sync_to_thread=True, tags=TAGS, right=Right.READ)
def list_ips(core: FromCore, caller: FromCaller) -> schemas.Data[list[schemas.Ip]]:
    """The dedicated IPs of the workspace."""
    with reading(core.engine) as session:
        rows = service.list_(session, caller.workspace)
    return schemas.Data([translate.ip(row) for row in rows])


@post("/ips", status_code=200, sync_to_thread=True, tags=TAGS, right=Right.WRITE)
def order_ips(
    core: FromCore, caller: FromCaller, data: JSONBody[schemas.OrderIps]
) -> schemas.Data[schemas.IpOrder]:
    """Order 1 to 10 more dedicated IPs; the workspace needs a domain already."""
    core.payments.require(caller.workspace)
    with writing(core.engine) as session:
        order = service.order(session, caller.workspace, data.count)
    return schemas.Data(translate.ip_order(order))


@delete("/ips/{ip_id:str}", status_code=200, sync_to_thread=True, tags=TAGS, right=Right.WRITE)
def release_ip(
    core: FromCore, caller: FromCaller, ip_id: FromPath[str]
) -> schemas.Data[schemas.IpReleased]:
    """Give a dedicated IP back, unless mailboxes would be left without one."""
    with writing(core.engine) as session:
        row = service.release(session, caller.workspace, parse_id("ip", ip_id))
        ends = billing.ends_with_last_address(session, caller.workspace.id)
    return schemas.Data(schemas.IpReleased(released=row.ip, cancelled_subscription=ends))


HANDLERS = [list_ips, order_ips, release_ip]
