"""/mailboxes/:id/password, /suspend, /resume and /quota, PATCH /mailboxes/:id."""

from litestar import get, patch, post
from litestar.params import FromPath, JSONBody
from msgspec import UNSET

from api.adbtd import mailbox_schemas, schemas, translate
from api.adbtd.requests import FromCaller, FromCore, parse_id
from orchestrator.db import reading, writing
from orchestrator.mail import quota
from orchestrator.services import conditions, logins, mailboxes, quotas
from orchestrator.services.rights import Right

TAGS = ["Mailboxes"]


@post(
    "/mailboxes/{mailbox_id:str}/password",
    status_code=200,
    sync_to_thread=True,
    tags=TAGS,
    right=Right.WRITE,
)
def set_password(
    core: FromCore,
    caller: FromCaller,
    mailbox_id: FromPath[str],
    data: JSONBody[mailbox_schemas.NewPassword],
) -> schemas.Data[mailbox_schemas.Login]:
    """Give a mailbox another password, made by us or yours; it is told this once.

    The old one and its sessions end within moments.
    """
    chosen = None if data.password is UNSET else data.password
    key = parse_id("mb", mailbox_id)
    with writing(core.engine) as session:
        placed, password = logins.set_password(session, core.vault, caller.workspace, key, chosen)
    return schemas.Data(translate.login(placed.mailbox, password))


@post(
    "/mailboxes/{mailbox_id:str}/suspend",
    status_code=200,
    sync_to_thread=True,
    tags=TAGS,
    right=Right.WRITE,
)
def suspend_mailbox(
    core: FromCore, caller: FromCaller, mailbox_id: FromPath[str]
) -> schemas.Data[schemas.Mailbox]:
    """Let nobody log in to a mailbox, nor send from it; mail to it is still accepted and kept."""
    with writing(core.engine) as session:
        row = logins.suspend(session, caller.workspace, parse_id("mb", mailbox_id))
        observed = conditions.get_all(session, [row.host.id])
    return schemas.Data(translate.mailbox(row, observed))


@post(
    "/mailboxes/{mailbox_id:str}/resume",
    status_code=200,
    sync_to_thread=True,
    tags=TAGS,
    right=Right.WRITE,
)
def resume_mailbox(
    core: FromCore, caller: FromCaller, mailbox_id: FromPath[str]
) -> schemas.Data[schemas.Mailbox]:
    """End a suspension; the password is what it was."""
    with writing(core.engine) as session:
        row = logins.resume(session, caller.workspace, parse_id("mb", mailbox_id))
        observed = conditions.get_all(session, [row.host.id])
    return schemas.Data(translate.mailbox(row, observed))


@patch("/mailboxes/{mailbox_id:str}", sync_to_thread=True, tags=TAGS, right=Right.WRITE)
def change_mailbox(
    core: FromCore,
    caller: FromCaller,
    mailbox_id: FromPath[str],
    data: JSONBody[mailbox_schemas.ChangeMailbox],
) -> schemas.Data[mailbox_schemas.Quota]:
    """Change how much mail a mailbox may hold, in MiB."""
    key = parse_id("mb", mailbox_id)
    with writing(core.engine) as session:
        row = quotas.set_(session, core.settings, caller.workspace, key, data.quota_mib)
    return schemas.Data(translate.quota(row.mailbox))


@get("/mailboxes/{mailbox_id:str}/quota", tags=TAGS, right=Right.READ)
async def get_quota(
    core: FromCore, caller: FromCaller, mailbox_id: FromPath[str]
) -> schemas.Data[mailbox_schemas.Usage]:
    """How much mail a mailbox holds, and may hold, by its own server."""

    def ask() -> mailbox_schemas.Usage:
        with reading(core.engine) as session:
            placed = mailboxes.get(session, caller.workspace, parse_id("mb", mailbox_id))
        return translate.usage(quota.usage(mailboxes.access(core.vault, core.settings, placed)))

    return schemas.Data(await core.talk(ask))


HANDLERS = [set_password, suspend_mailbox, resume_mailbox, change_mailbox, get_quota]
