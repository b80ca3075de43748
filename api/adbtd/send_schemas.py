"""The dialect's JSON of sending, batches, templates and scheduled messages."""

from datetime import datetime
from typing import Annotated, Any, Literal

from msgspec import Meta

from api.adbtd.schemas import Answer, Error, Request

#: RFC 3339, with its zone.
Moment = Annotated[datetime, Meta(tz=True)]


class Upload(Request):
    """A file to send; ``content`` is base64. With contentId the html shows it as ``cid:…``."""

    filename: str
    content_type: str
    content: str
    content_id: str | None = None


class SendMessage(Request):
    """Body of POST /mailboxes/:id/send; subject with text or html or both, or a template."""

    to: str | list[str]
    subject: str | None = None
    cc: list[str] | None = None
    bcc: list[str] | None = None
    text: str | None = None
    html: str | None = None
    from_name: str | None = None
    reply_to: str | None = None
    attachments: list[Upload] | None = None
    template_id: str | None = None
    variables: dict[str, Any] | None = None
    send_at: Moment | None = None


class Recipient(Request):
    """One message of a batch that fills a template."""

    to: str | list[str]
    cc: list[str] | None = None
    bcc: list[str] | None = None
    variables: dict[str, Any] | None = None


class SendBatch(Request):
    """Body of POST /mailboxes/:id/send/batch: messages, or a template with recipients."""

    messages: list[SendMessage] | None = None
    template_id: str | None = None
    recipients: list[Recipient] | None = None
    from_name: str | None = None
    reply_to: str | None = None
    send_at: Moment | None = None


class WriteTemplate(Request):
    """Body of POST /templates and PUT /templates/:id; text or html or both."""

    name: str
    subject: str
    text: str | None = None
    html: str | None = None


class RenderTemplate(Request):
    """Body of POST /templates/:id/render."""

    variables: dict[str, Any]


class Sent(Answer):
    """Answer of POST /mailboxes/:id/send."""

    message_id: str
    accepted: list[str]
    rejected: list[str]
    response: str


class Scheduled(Answer):
    """Answer of POST /mailboxes/:id/send with sendAt."""

    scheduled_id: str
    status: Literal["scheduled"]
    send_at: str
    message_id: str


class BatchSent(Sent):
    """A message of a batch that was sent; ``refusals`` are the server's words on each rejected."""

    index: int
    refusals: list[str]


class BatchScheduled(Scheduled):
    """A message of a batch that waits for its time."""

    index: int


class BatchFailed(Answer):
    """A message of a batch that was not sent."""

    index: int
    error: Error


BatchResult = BatchSent | BatchScheduled | BatchFailed


class ScheduledMessage(Answer):
    """An item of GET /scheduled; ``response`` is what the server said last."""

    scheduled_id: str
    mailbox_id: str
    message_id: str
    status: Literal["scheduled", "sending", "sent", "failed", "cancelled"]
    send_at: str
    ended_at: str | None
    accepted: list[str]
    rejected: list[str]
    refusals: list[str]
    response: str


class TemplateSummary(Answer):
    """An item of GET /templates: without its bodies, which may be large."""

    id: str
    name: str
    subject: str
    created_at: str
    updated_at: str


class Template(TemplateSummary):
    """A template."""

    text: str | None
    html: str | None


class TemplateDeleted(Answer):
    """Answer of DELETE /templates/:id."""

    deleted: str


class Rendered(Answer):
    """Answer of POST /templates/:id/render."""

    subject: str
    text: str | None
    html: str | None
