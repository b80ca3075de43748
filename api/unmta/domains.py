"""/clusters/{cluster}/domains."""

from litestar import delete, get, post
from litestar.params import FromPath, JSONBody

from api.requests import FromCaller, FromCore
from api.unmta import schemas, translate
from orchestrator.db import reading, writing
from orchestrator.services import cluster_domains as service
from orchestrator.services import clusters, conditions
from orchestrator.services.rights import Right

TAGS = ["Domains"]
PATH = "/{cluster:str}/domains"


@get(PATH, sync_to_thread=True, tags=TAGS, right=Right.READ)
def list_domains(
    core: FromCore, caller: FromCaller, cluster: FromPath[str]
) -> schemas.Data[list[schemas.Domain]]:
    """All domains of the cluster."""
    with reading(core.engine) as session:
        rows = service.list_(session, clusters.get(session, caller.workspace, cluster))
        keys = service.keys(session, rows)
        observed = conditions.get_all(session, [row.id for row in rows])
    return schemas.Data([translate.domain(row, keys[row.id], observed) for row in rows])


@post(PATH, sync_to_thread=True, tags=TAGS, right=Right.WRITE)
def create_domain(
    core: FromCore,
    caller: FromCaller,
    cluster: FromPath[str],
    data: JSONBody[schemas.CreateDomain],
) -> schemas.Data[schemas.DomainDetail]:
    """Add a domain with a signing key of its own; publish its records to verify it."""
    # Not in the transaction that writes: making a key takes long, and nobody shall wait for it.
    with reading(core.engine) as session:
        its = clusters.get(session, caller.workspace, cluster)
    with writing(core.engine) as session:
        row = service.add(session, core.vault, core.settings, its, data.name)
        key = service.key(session, row)
    return schemas.Data(translate.domain_detail(row, key, {}))


@get(PATH + "/{domain:str}", sync_to_thread=True, tags=TAGS, right=Right.READ)
def get_domain(
    core: FromCore, caller: FromCaller, cluster: FromPath[str], domain: FromPath[str]
) -> schemas.Data[schemas.DomainDetail]:
    """One domain with the DNS records to publish for it."""
    with reading(core.engine) as session:
        row = service.get(session, clusters.get(session, caller.workspace, cluster), domain)
        key = service.key(session, row)
        observed = conditions.get_all(session, [row.id])
    return schemas.Data(translate.domain_detail(row, key, observed))


@delete(PATH + "/{domain:str}", sync_to_thread=True, tags=TAGS, right=Right.WRITE)
def delete_domain(
    core: FromCore, caller: FromCaller, cluster: FromPath[str], domain: FromPath[str]
) -> None:
    """Delete a domain, at once: mail from it is rejected from now on."""
    with writing(core.engine) as session:
        service.delete(session, clusters.get(session, caller.workspace, cluster), domain)


HANDLERS = [list_domains, create_domain, get_domain, delete_domain]
