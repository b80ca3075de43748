"""/clusters and /clusters/{cluster}/mtas."""

from litestar import get
from litestar.params import FromPath

from api.requests import FromCaller, FromCore
from api.unmta import schemas, translate
from orchestrator.db import reading
from orchestrator.services import clusters as service
from orchestrator.services.rights import Right

TAGS = ["Clusters"]


@get("/", sync_to_thread=True, tags=TAGS, right=Right.READ)
def list_clusters(core: FromCore, caller: FromCaller) -> schemas.Data[list[schemas.Cluster]]:
    """All clusters that you have access to."""
    with reading(core.engine) as session:
        rows = service.list_(session, caller.workspace)
        seen = [(row, service.status(session, row)) for row in rows]
    return schemas.Data([translate.cluster(row, status) for row, status in seen])


@get("/{cluster:str}/mtas", sync_to_thread=True, tags=TAGS, right=Right.READ)
def list_mtas(
    core: FromCore, caller: FromCaller, cluster: FromPath[str]
) -> schemas.Data[list[schemas.Mta]]:
    """The cluster's mail servers, and the addresses that they send from."""
    with reading(core.engine) as session:
        rows = service.mtas(session, service.get(session, caller.workspace, cluster))
    return schemas.Data([translate.mta(row) for row in rows])


HANDLERS = [list_clusters, list_mtas]
