"""/templates: tenants' own templates of messages."""

from litestar import delete, get, post, put
from litestar.params import FromPath, JSONBody

from api.adbtd import send_schemas as schemas
from api.adbtd import send_translate
from api.adbtd.requests import FromCaller, FromCore, parse_id
from api.adbtd.schemas import Data
from orchestrator.db import reading, writing
from orchestrator.mail.templating import Source
from orchestrator.services import templates as service
from orchestrator.services.rights import Right

TAGS = ["Templates"]


def _source(data: schemas.WriteTemplate) -> Source:
    return service.source(subject=data.subject, text=data.text, html=data.html)


@get("/templates", sync_to_thread=True, tags=TAGS, right=Right.READ)
def list_templates(core: FromCore, caller: FromCaller) -> Data[list[schemas.TemplateSummary]]:
    """All templates, by name, without their bodies."""
    with reading(core.engine) as session:
        rows = service.list_(session, caller.workspace)
    return Data([send_translate.template_summary(row) for row in rows])


@post("/templates", status_code=200, sync_to_thread=True, tags=TAGS, right=Right.WRITE)
def create_template(
    core: FromCore, caller: FromCaller, data: JSONBody[schemas.WriteTemplate]
) -> Data[schemas.Template]:
    """Store a template (Jinja2); what is not one is refused, with the line."""
    with writing(core.engine) as session:
        row = service.create(
            session, core.confined, caller.workspace, name=data.name, parts=_source(data)
        )
    return Data(send_translate.template(row))


@get("/templates/{template_id:str}", sync_to_thread=True, tags=TAGS, right=Right.READ)
def get_template(
    core: FromCore, caller: FromCaller, template_id: FromPath[str]
) -> Data[schemas.Template]:
    """One template."""
    with reading(core.engine) as session:
        row = service.get(session, caller.workspace, parse_id("tpl", template_id))
    return Data(send_translate.template(row))


@put("/templates/{template_id:str}", sync_to_thread=True, tags=TAGS, right=Right.WRITE)
def replace_template(
    core: FromCore,
    caller: FromCaller,
    template_id: FromPath[str],
    data: JSONBody[schemas.WriteTemplate],
) -> Data[schemas.Template]:
    """Replace a template as a whole."""
    key, parts = parse_id("tpl", template_id), _source(data)
    with writing(core.engine) as session:
        row = service.replace_(
            session, core.confined, caller.workspace, key, name=data.name, parts=parts
        )
    return Data(send_translate.template(row))


@delete(
    "/templates/{template_id:str}",
    status_code=200,
    sync_to_thread=True,
    tags=TAGS,
    right=Right.WRITE,
)
def delete_template(
    core: FromCore, caller: FromCaller, template_id: FromPath[str]
) -> Data[schemas.TemplateDeleted]:
    """Delete a template."""
    with writing(core.engine) as session:
        row = service.delete(session, caller.workspace, parse_id("tpl", template_id))
    return Data(schemas.TemplateDeleted(deleted=row.name))


@post(
    "/templates/{template_id:str}/render",
    status_code=200,
    sync_to_thread=True,
    tags=TAGS,
    right=Right.READ,
)
def render_template(
    core: FromCore,
    caller: FromCaller,
    template_id: FromPath[str],
    data: JSONBody[schemas.RenderTemplate],
) -> Data[schemas.Rendered]:
    """What a template gives for these variables; nothing is sent."""
    with reading(core.engine) as session:
        row = service.get(session, caller.workspace, parse_id("tpl", template_id))
    parts = Source(row.subject, row.text, row.html)
    return Data(send_translate.rendered(service.render(core.confined, parts, data.variables)))


HANDLERS = [
    list_templates,
    create_template,
    get_template,
    replace_template,
    delete_template,
    render_template,
]
