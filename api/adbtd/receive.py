"""/mailboxes/:id/folders and /mailboxes/:id/messages: conversations with the mailbox's host.

They run in threads of their own, and no database transaction is open meanwhile.
"""

from typing import Annotated, Literal

from litestar import Response, get
from litestar.params import FromPath, FromQuery, PathParameter, QueryParameter

from api.adbtd import schemas, translate
from api.adbtd.download import download
from api.adbtd.requests import FromCaller, FromCore, parse_id
from api.auth import Caller
from api.core import Core
from orchestrator.db import reading as reading_database
from orchestrator.errors import Invalid
from orchestrator.mail import reading
from orchestrator.mail.parsing import MAX_BYTES
from orchestrator.mail.types import AttachmentInfo, MailboxAccess
from orchestrator.services import mailboxes, rights
from orchestrator.services.rights import Right

TAGS = ["Receiving"]

Uid = Annotated[int, PathParameter(ge=1, le=2**32 - 1)]
Number = Annotated[int, PathParameter(ge=1, le=1000)]
Before = Annotated[int | None, QueryParameter(ge=1, le=2**32 - 1)]
Limit = Annotated[int, QueryParameter(ge=1, le=100)]
MarkSeen = Annotated[Literal["0", "1"], QueryParameter(name="markSeen")]


def _access(core: Core, caller: Caller, mailbox_id: str) -> MailboxAccess:
    with reading_database(core.engine) as session:
        placed = mailboxes.get(session, caller.workspace, parse_id("mb", mailbox_id))
    return mailboxes.access(core.vault, core.settings, placed)


@get("/mailboxes/{mailbox_id:str}/folders", tags=TAGS, right=Right.READ_MAIL)
async def list_folders(
    core: FromCore, caller: FromCaller, mailbox_id: FromPath[str]
) -> schemas.Data[list[schemas.Folder]]:
    """The mailbox's folders with what is in them, INBOX first."""

    def ask() -> list[schemas.Folder]:
        folders = reading.list_folders(core.imap, _access(core, caller, mailbox_id))
        return [translate.folder(folder) for folder in folders]

    return schemas.Data(await core.talk(ask))


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
        page = reading.list_messages(core.imap, access, folder=folder, limit=limit, before=before)
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
    if mark_seen == "1":
        rights.authorize(caller.key, Right.CHANGE_MAIL, parse_id("mb", mailbox_id))

    def ask() -> schemas.Message:
        access, seen = _access(core, caller, mailbox_id), mark_seen == "1"
        source = reading.fetch_source(core.imap, access, folder=folder, uid=uid, mark_seen=seen)
        return translate.message(reading.detail(core.confined, source))

    return schemas.Data(await core.talk(ask))


@get(
    "/mailboxes/{mailbox_id:str}/messages/{uid:int}/attachments/{number:int}",
    tags=TAGS,
    right=Right.READ_MAIL,
)
async def download_attachment(
    *,
    core: FromCore,
    caller: FromCaller,
    mailbox_id: FromPath[str],
    uid: Uid,
    number: Number,
    folder: FromQuery[str] = "INBOX",
) -> Response[bytes]:
    """An attachment's octets, by its place (from 1) in the message's attachments."""

    def ask() -> Response[bytes]:
        access = _access(core, caller, mailbox_id)
        source = reading.fetch_source(core.imap, access, folder=folder, uid=uid)
        found = reading.attachment(core.confined, source, number)
        return download(found.info, found.content)

    return await core.talk(ask)


@get("/mailboxes/{mailbox_id:str}/messages/{uid:int}/raw", tags=TAGS, right=Right.READ_MAIL)
async def download_message(
    *,
    core: FromCore,
    caller: FromCaller,
    mailbox_id: FromPath[str],
    uid: Uid,
    folder: FromQuery[str] = "INBOX",
) -> Response[bytes]:
    """The message as it is stored (message/rfc822); it stays unread."""

    def ask() -> Response[bytes]:
        access = _access(core, caller, mailbox_id)
        source = reading.fetch_source(core.imap, access, folder=folder, uid=uid)
        if source.size > MAX_BYTES:
            raise Invalid(f"the message is larger than {MAX_BYTES} octets: read it over IMAP")
        info = AttachmentInfo(f"{uid}.eml", "message/rfc822", source.size, None)
        return download(info, source.content)

    return await core.talk(ask)


HANDLERS = [list_folders, list_messages, fetch_message, download_attachment, download_message]
