"""Messages that tenants send: checked here, so that nothing reaches a header unseen."""

import base64
import binascii
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from orchestrator.errors import Invalid
from orchestrator.mail import mime
from orchestrator.mail.types import OutgoingAttachment, OutgoingMessage, Prepared
from orchestrator.services import validation
from orchestrator.settings import Settings

#: Recipients of one message, all headers together.
MAX_RECIPIENTS = 100
#: RFC 5322 allows a line of 998 characters; longer subjects are folded after encoding.
MAX_SUBJECT = 998
MAX_NAME = 200
MAX_ATTACHMENTS = 50
#: What file systems allow for a name.
MAX_FILENAME = 255

# RFC 6838 section 4.2.
_TYPE = re.compile(r"[a-z0-9][a-z0-9!#$&^_.+-]{0,126}/[a-z0-9][a-z0-9!#$&^_.+-]{0,126}")
# RFC 2392: what an HTML body names as ``cid:…``; RFC 5322's msg-id is stricter than clients are.
_CONTENT_ID = re.compile(r"[\w!#$%&'*+/=?^`{|}~.-]+(?:@[\w.-]+)?", re.ASCII)


@dataclass(frozen=True, kw_only=True)
class Upload:
    """A file as a tenant gave it: ``content`` is base64 (RFC 4648 section 4)."""

    filename: str
    content_type: str
    content: str = field(repr=False)
    content_id: str | None = None


@dataclass(frozen=True, kw_only=True)
class Draft:
    """A message as a tenant wrote it; nothing of it has been checked."""

    to: Sequence[str]
    subject: str | None = None
    text: str | None = None
    html: str | None = None
    cc: Sequence[str] = ()
    bcc: Sequence[str] = ()
    from_name: str | None = None
    reply_to: str | None = None
    attachments: Sequence[Upload] = ()


def prepare(
    settings: Settings, email: str, draft: Draft, *, date: datetime | None = None
) -> Prepared:
    """Make of a draft what the mailbox ``email`` submits; dated now unless told.

    :raises Invalid: naming the field that is missing, malformed or too large.
    """
    limit = settings.message_size_limit
    return mime.prepare(email, compose(draft, size_limit=limit), size_limit=limit, date=date)


def compose(draft: Draft, *, size_limit: int) -> OutgoingMessage:
    """Check every field of a draft; sizes in octets.

    :raises Invalid: naming the field that is missing, malformed or too large.
    """
    if not draft.to:
        raise Invalid("to holds no recipient", field="to")
    if len(draft.to) + len(draft.cc) + len(draft.bcc) > MAX_RECIPIENTS:
        raise Invalid(f"a message has at most {MAX_RECIPIENTS} recipients", field="to")
    if draft.subject is None:
        raise Invalid("subject is required", field="subject")
    if not draft.text and not draft.html:
        raise Invalid("text or html is required", field="text")
    return OutgoingMessage(
        to=tuple(validation.recipient(address, field="to") for address in draft.to),
        cc=tuple(validation.recipient(address, field="cc") for address in draft.cc),
        bcc=tuple(validation.recipient(address, field="bcc") for address in draft.bcc),
        subject=validation.line(draft.subject, field="subject", limit=MAX_SUBJECT),
        text=draft.text,
        html=draft.html,
        from_name=_optional_name(draft.from_name),
        reply_to=_optional_recipient(draft.reply_to),
        attachments=_attachments(draft, size_limit),
    )


def _optional_name(text: str | None) -> str | None:
    if text is None:
        return None
    return validation.display_name(text, field="fromName", limit=MAX_NAME)


def _optional_recipient(text: str | None) -> str | None:
    return None if text is None else validation.recipient(text, field="replyTo")


def _attachments(draft: Draft, size_limit: int) -> tuple[OutgoingAttachment, ...]:
    uploads = draft.attachments
    if len(uploads) > MAX_ATTACHMENTS:
        raise Invalid(f"a message has at most {MAX_ATTACHMENTS} attachments", field="attachments")
    if sum(len(upload.content) for upload in uploads) > size_limit:
        raise Invalid(f"the message is larger than {size_limit} octets", field="attachments")
    attached = tuple(_attachment(upload) for upload in uploads)
    ids = [attachment.content_id for attachment in attached if attachment.content_id is not None]
    if len(set(ids)) < len(ids):
        raise Invalid("two attachments have the same contentId", field="attachments")
    if ids and not draft.html:
        raise Invalid("an attachment with a contentId needs html to show it", field="attachments")
    return attached


def _attachment(upload: Upload) -> OutgoingAttachment:
    kind = upload.content_type.lower()
    if not _TYPE.fullmatch(kind) or kind.partition("/")[0] in {"multipart", "message"}:
        # RFC 2046 sections 5.1 and 5.2.1: those can't be base64, which keeps octets as they are.
        raise Invalid(
            "contentType is not like application/pdf, or is a multipart or message",
            field="attachments",
        )
    return OutgoingAttachment(
        _filename(upload.filename), kind, _decoded(upload.content), _content_id(upload.content_id)
    )


def _filename(text: str) -> str:
    name = validation.display_name(text, field="filename", limit=MAX_FILENAME)
    if "/" in name or "\\" in name:
        raise Invalid("filename holds a path, not a name", field="attachments")
    return name


def _decoded(content: str) -> bytes:
    try:
        decoded = base64.b64decode(content.encode("ascii"), validate=True)
    except (binascii.Error, UnicodeEncodeError):
        decoded = None
    # The decoder lets surplus padding and stray bits pass (RFC 4648 section 3.5).
    if decoded is None or base64.b64encode(decoded).decode() != content:
        raise Invalid("content of an attachment is not base64", field="attachments")
    return decoded


def _content_id(text: str | None) -> str | None:
    if text is None:
        return None
    # Written with or without the header's brackets.
    bare = text.removeprefix("<").removesuffix(">")
    if len(bare) > MAX_NAME or not _CONTENT_ID.fullmatch(bare):
        raise Invalid("contentId is not like logo or logo@acme.com", field="attachments")
    return bare
