"""Messages that tenants send: checked here, so that nothing reaches a header unseen."""

from collections.abc import Sequence

from orchestrator.errors import Invalid
from orchestrator.mail.types import OutgoingMessage
from orchestrator.services import validation

#: Recipients of one message, all headers together.
MAX_RECIPIENTS = 100
#: RFC 5322 allows a line of 998 characters; longer subjects are folded after encoding.
MAX_SUBJECT = 998
MAX_NAME = 200


def compose(
    *,
    to: Sequence[str],
    subject: str,
    text: str | None = None,
    html: str | None = None,
    cc: Sequence[str] = (),
    bcc: Sequence[str] = (),
    from_name: str | None = None,
    reply_to: str | None = None,
) -> OutgoingMessage:
    """Make a message of what a tenant wrote.

    :raises Invalid: naming the field that is missing, malformed or too large.
    """
    if not to:
        raise Invalid("to holds no recipient", field="to")
    if len(to) + len(cc) + len(bcc) > MAX_RECIPIENTS:
        raise Invalid(f"a message has at most {MAX_RECIPIENTS} recipients", field="to")
    if not text and not html:
        raise Invalid("text or html is required", field="text")
    return OutgoingMessage(
        to=tuple(validation.recipient(address, field="to") for address in to),
        cc=tuple(validation.recipient(address, field="cc") for address in cc),
        bcc=tuple(validation.recipient(address, field="bcc") for address in bcc),
        subject=validation.line(subject, field="subject", limit=MAX_SUBJECT),
        text=text,
        html=html,
        from_name=_optional_name(from_name),
        reply_to=None if reply_to is None else validation.recipient(reply_to, field="replyTo"),
    )


def _optional_name(text: str | None) -> str | None:
    if text is None:
        return None
    return validation.display_name(text, field="fromName", limit=MAX_NAME)
