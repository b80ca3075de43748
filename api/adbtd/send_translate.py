"""Sending, templates and scheduled messages to and from the dialect's JSON. Pure."""

from collections.abc import Sequence

from api.adbtd import send_schemas as schemas
from api.adbtd.schemas import Error
from api.adbtd.translate import optional_timestamp, public_id, timestamp
from orchestrator import models
from orchestrator.mail.templating import Rendered
from orchestrator.mail.types import Submission
from orchestrator.services.messages import Draft, Upload


def draft(data: schemas.SendMessage) -> Draft:
    """POST /mailboxes/:id/send."""
    return Draft(
        to=_several(data.to),
        cc=data.cc or (),
        bcc=data.bcc or (),
        subject=data.subject,
        text=data.text,
        html=data.html,
        from_name=data.from_name,
        reply_to=data.reply_to,
        attachments=[
            Upload(
                filename=upload.filename,
                content_type=upload.content_type,
                content=upload.content,
                content_id=upload.content_id,
            )
            for upload in data.attachments or ()
        ],
    )


def draft_to(recipient: schemas.Recipient, batch: schemas.SendBatch) -> Draft:
    """One recipient of a batch that fills a template."""
    return Draft(
        to=_several(recipient.to),
        cc=recipient.cc or (),
        bcc=recipient.bcc or (),
        from_name=batch.from_name,
        reply_to=batch.reply_to,
    )


def _several(to: str | list[str]) -> Sequence[str]:
    return [to] if isinstance(to, str) else to


def sent(submission: Submission) -> schemas.Sent:
    """POST /mailboxes/:id/send."""
    return schemas.Sent(
        message_id=submission.message_id,
        accepted=list(submission.accepted),
        rejected=list(submission.rejected),
        response=submission.response,
    )


def scheduled(row: models.ScheduledMessage) -> schemas.Scheduled:
    """POST /mailboxes/:id/send with sendAt."""
    return schemas.Scheduled(
        scheduled_id=public_id("sch", row.id),
        status="scheduled",
        send_at=timestamp(row.send_at),
        message_id=row.message_id,
    )


def batch_result(
    index: int, outcome: Submission | models.ScheduledMessage | Error
) -> schemas.BatchResult:
    """One message of POST /mailboxes/:id/send/batch."""
    match outcome:
        case Error():
            return schemas.BatchFailed(index=index, error=outcome)
        case models.ScheduledMessage():
            answer = scheduled(outcome)
            return schemas.BatchScheduled(
                index=index, **{name: getattr(answer, name) for name in answer.__struct_fields__}
            )
        case Submission():
            done = sent(outcome)
            return schemas.BatchSent(
                index=index,
                refusals=list(outcome.refusals),
                **{name: getattr(done, name) for name in done.__struct_fields__},
            )


def scheduled_message(row: models.ScheduledMessage) -> schemas.ScheduledMessage:
    """An item of GET /scheduled."""
    return schemas.ScheduledMessage(
        scheduled_id=public_id("sch", row.id),
        mailbox_id=public_id("mb", row.mailbox_id),
        message_id=row.message_id,
        status=row.state.value,
        send_at=timestamp(row.send_at),
        ended_at=optional_timestamp(row.ended_at),
        accepted=row.accepted,
        rejected=row.rejected,
        refusals=row.refusals,
        response=row.response,
    )


def template_summary(row: models.Template) -> schemas.TemplateSummary:
    """An item of GET /templates."""
    return schemas.TemplateSummary(
        id=public_id("tpl", row.id),
        name=row.name,
        subject=row.subject,
        created_at=timestamp(row.created_at),
        updated_at=timestamp(row.updated_at),
    )


def template(row: models.Template) -> schemas.Template:
    """GET /templates/:id."""
    base = template_summary(row)
    return schemas.Template(
        text=row.text,
        html=row.html,
        **{name: getattr(base, name) for name in base.__struct_fields__},
    )


def rendered(made: Rendered) -> schemas.Rendered:
    """POST /templates/:id/render."""
    return schemas.Rendered(subject=made.subject, text=made.text, html=made.html)
