"""/mailboxes/:id/send and /mailboxes/:id/messages: conversations with the mailbox's host.

They run in threads of their own, and no database transaction is open meanwhile.
"""

from functools import partial
from typing import Annotated, Literal

from litestar import get, post
from litestar.params import FromPath, FromQuery, JSONBody, PathParameter, QueryParameter

from api.adbtd import schemas, translate
from api.adbtd.requests import FromCaller, FromCore, parse_id
from api.auth import Caller
from api.core import Core
from orchestrator.db import reading
from orchestrator.mail import imap, submission
from orchestrator.mail.types import MailboxAccess
from orchestrator.services import mailboxes, messages
from orchestrator.services.rights import Right

TAGS = ["Messages"]

Uid = Annotated[int, PathParameter(ge=1, le=2**32 - 1)]
Before = Annotated[int | None, QueryParameter(ge=1, le=2**32 - 1)]
Limit = Annotated[int, QueryParameter(ge=1, le=100)]
MarkSeen = Annotated[Literal["0", "1"], QueryParameter(name="markSeen")]


def _access(core: Core, caller: Caller, mailbox_id: str) -> MailboxAccess:
    with reading(core.engine) as session:
        placed = mailboxes.get(session, caller.workspace, parse_id("mb", mailbox_id))
    return mailboxes.access(core.vault, core.settings, placed)


@post("/mailboxes/{mailbox_id:str}/send", status_code=200, tags=TAGS, right=Right.SEND)
async def send_message(
    core: FromCore,
    caller: FromCaller,
    mailbox_id: FromPath[str],
    data: JSONBody[schemas.SendMessage],
) -> schemas.Data[schemas.Sent]:
    """Submit a message through the mailbox's server, from its dedicated IP."""
    return schemas.Data(await core.talk(partial(_send, core, caller, mailbox_id, data)))


def _send(core: Core, caller: Caller, mailbox_id: str, data: schemas.SendMessage) -> schemas.Sent:
    access = _access(core, caller, mailbox_id)
    message = messages.compose(
        to=[data.to] if isinstance(data.to, str) else data.to,
        cc=data.cc or (),
        bcc=data.bcc or (),
        subject=data.subject,
        text=data.text,
        html=data.html,
        from_name=data.from_name,
        reply_to=data.reply_to,
    )
    return translate.sent(submission.submit(access, message))


@get("/mailboxes/{mailbox_id:str}/messages", tags=TAGS, right=Right.READ_MAIL)
async def list_messages(
    *,
    core: FromCore,
    caller: FromCaller,
    mailbox_id: FromPath[str],
    folder: FromQuery[str] = "INBOX",
    limit: Limit = 25,
    before: Before = None,
) -> schemas.Data[schemas.MessageList]:
    """Recent messages of a folder, newest first."""

    def ask() -> schemas.MessageList:
        access = _access(core, caller, mailbox_id)
        page = imap.list_messages(access, folder=folder, limit=limit, before=before)
        return translate.message_list(page)

    return schemas.Data(await core.talk(ask))


@get("/mailboxes/{mailbox_id:str}/messages/{uid:int}", tags=TAGS, right=Right.READ_MAIL)
async def fetch_message(
    *,
    core: FromCore,
    caller: FromCaller,
    mailbox_id: FromPath[str],
    uid: Uid,
    folder: FromQuery[str] = "INBOX",
    mark_seen: MarkSeen = "0",
) -> schemas.Data[schemas.Message]:
    """One message with its bodies; it stays unread unless markSeen is 1."""

    def ask() -> schemas.Message:
        access = _access(core, caller, mailbox_id)
        seen = mark_seen == "1"
        return translate.message(imap.fetch_message(access, folder=folder, uid=uid, mark_seen=seen))

    return schemas.Data(await core.talk(ask))


HANDLERS = [send_message, list_messages, fetch_message]
