"""/domains."""

from litestar import delete, get, post
from litestar.params import FromPath, JSONBody

from api.adbtd import schemas, translate
from api.adbtd.requests import Fate, FromCaller, FromCore, parse_id
from orchestrator.db import reading, writing
from orchestrator.models import DomainMode
from orchestrator.services import conditions, dkim_rotation, registrations
from orchestrator.services import domains as service
from orchestrator.services.rights import Right

TAGS = ["Domains"]


@get("/domains", sync_to_thread=True, tags=TAGS, right=Right.READ)
def list_domains(core: FromCore, caller: FromCaller) -> schemas.Data[list[schemas.Domain]]:
    """All domains with a flag for each kind of DNS record."""
    with reading(core.engine) as session:
        rows = service.list_(session, caller.workspace)
        selectors = service.selectors(session, rows)
        observed = conditions.get_all(session, [row.id for row in rows])
    return schemas.Data([translate.domain(row, selectors[row.id], observed) for row in rows])


@get("/domains/{domain_id:str}", sync_to_thread=True, tags=TAGS, right=Right.READ)
def get_domain(
    core: FromCore, caller: FromCaller, domain_id: FromPath[str]
) -> schemas.Data[schemas.DomainDetail]:
    """One domain with the DNS records to publish for it."""
    with reading(core.engine) as session:
        row = service.get(session, caller.workspace, parse_id("dom", domain_id))
        selector = service.selectors(session, [row])[row.id]
        observed = conditions.get_all(session, [row.id])
        records = service.expected_records(session, core.settings, row)
        awaited = dkim_rotation.awaited(session, row)
    return schemas.Data(translate.domain_detail(row, selector, observed, records, awaited))


@post("/domains", status_code=200, sync_to_thread=True, tags=TAGS, right=Right.WRITE)
def add_domain(
    core: FromCore, caller: FromCaller, data: JSONBody[schemas.AddDomain]
) -> schemas.Data[schemas.DomainOrder]:
    """Add a domain, or buy it; the workspace needs a dedicated IP already."""
    core.payments.require(caller.workspace)
    if data.mode == "buy":
        registrations.offer(core.engine, core.registrar, caller.workspace, data.name)
    with writing(core.engine) as session:
        order = service.add(
            session,
            core.vault,
            core.settings,
            caller.workspace,
            name=data.name,
            mode=DomainMode(data.mode),
        )
    return schemas.Data(translate.domain_order(order))


@delete(
    "/domains/{domain_id:str}", status_code=200, sync_to_thread=True, tags=TAGS, right=Right.WRITE
)
def delete_domain(
    core: FromCore, caller: FromCaller, domain_id: FromPath[str], mail: Fate = "keep"
) -> schemas.Data[schemas.DomainDeleted]:
    """Delete a domain and its mailboxes; with mail=purge their mail, too."""
    key, purge = parse_id("dom", domain_id), mail == "purge"
    with writing(core.engine) as session:
        count = service.delete(session, caller.workspace, key, purge=purge)
    return schemas.Data(schemas.DomainDeleted(deleted_mailboxes=count))


HANDLERS = [list_domains, get_domain, add_domain, delete_domain]
