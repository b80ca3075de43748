"""Builds the messages that tenants send (RFC 5322, MIME)."""

import re
import uuid
from collections.abc import Iterable
from datetime import UTC, datetime
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime

from orchestrator.errors import Invalid
from orchestrator.mail.types import OutgoingAttachment, OutgoingMessage, Prepared

#: Bodies are encoded to 7 bits: a relay that had to convert 8-bit text would break the DKIM
#: signature (RFC 6376 section 5.3).
_POLICY = SMTP.clone(cte_type="7bit")

#: The longest subject, in characters.
_MAX_SUBJECT = 998

#: C0, DEL, C1 and Unicode's line separators: ``str.splitlines`` breaks lines at most of them.
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
#: What may be an encoded word (RFC 2047). The email package decodes those in what it is given,
#: and would write a line break that one holds into the header.
_ENCODED = re.compile(r"=\?.*\?=")
_ATOM = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
_LOCAL = re.compile(rf"{_ATOM}(?:\.{_ATOM})*")
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_DOMAIN = re.compile(rf"(?=.{{1,253}}$){_LABEL}(?:\.{_LABEL})+")
_NAMED = re.compile(r"(?P<name>[^<>]*?)\s*<(?P<address>[^<>]+)>")


def prepare(
    access_email: str, message: OutgoingMessage, *, size_limit: int, date: datetime | None = None
) -> Prepared:
    """The message ready for submission; ``size_limit`` in octets. Raises ``Invalid``."""
    # Before building: encoding more than can be sent only costs time and memory.
    attached = sum(len(attachment.content) for attachment in message.attachments)
    if attached > size_limit:
        raise _too_large(size_limit)
    mail, message_id = build(access_email, message, date=date)
    content = mail.as_bytes()
    if len(content) > size_limit:
        raise _too_large(size_limit)
    return Prepared(message_id, recipients(message), content)


def build(
    access_email: str,
    message: OutgoingMessage,
    *,
    max_recipients: int = 100,
    date: datetime | None = None,
) -> tuple[EmailMessage, str]:
    """The message and its Message-ID, sent by ``access_email``; dated now unless told.

    Text and HTML become alternatives, with what the HTML shows beside it (RFC 2387); blind
    copies get no header. Raises ``Invalid`` with the
    offending field for control characters in a header (they could add headers), malformed
    addresses, no recipient or more than ``max_recipients``, and an empty message.
    """
    sender = _address(access_email, "from")
    name = _clean(message.from_name or "", "from_name")
    mail = EmailMessage(policy=_POLICY)
    mail["From"] = Address(name, sender.username, sender.domain)
    recipients(message, max_recipients=max_recipients)
    for header, field, given in (("To", "to", message.to), ("Cc", "cc", message.cc)):
        if given:
            mail[header] = [_address(text, field) for text in given]
    if message.reply_to:
        mail["Reply-To"] = _address(message.reply_to, "reply_to")
    if len(message.subject) > _MAX_SUBJECT:
        raise Invalid(f"the subject is longer than {_MAX_SUBJECT} characters", field="subject")
    mail["Subject"] = _clean(message.subject, "subject")
    mail["Date"] = format_datetime(date or datetime.now(UTC))
    message_id = f"<{uuid.uuid4().hex}@{sender.domain}>"
    mail["Message-ID"] = message_id
    _set_bodies(mail, message)
    for attachment in message.attachments:
        _attach(mail, attachment)
    return mail, message_id


def recipients(message: OutgoingMessage, *, max_recipients: int = 100) -> tuple[str, ...]:
    """The envelope recipients of To, Cc and Bcc, each once. Raises ``Invalid`` as ``build``."""
    given: Iterable[tuple[str, tuple[str, ...]]] = (
        ("to", message.to),
        ("cc", message.cc),
        ("bcc", message.bcc),
    )
    specs = [_address(text, field).addr_spec for field, texts in given for text in texts]
    unique = tuple(dict.fromkeys(specs))
    if not unique:
        raise Invalid("the message has no recipient", field="to")
    if len(unique) > max_recipients:
        text = f"the message has {len(unique)} recipients, more than {max_recipients}"
        raise Invalid(text, field="to")
    return unique


def _set_bodies(mail: EmailMessage, message: OutgoingMessage) -> None:
    bodies = [("text", "plain", message.text), ("html", "html", message.html)]
    present = [(field, subtype, body) for field, subtype, body in bodies if body is not None]
    if not present:
        raise Invalid("the message needs a text or an HTML body", field="text")
    for index, (field, subtype, body) in enumerate(present):
        _encodable(body, field)
        if "\0" in body:
            # RFC 5322 section 4: NUL isn't part of any message.
            raise Invalid(f"the {field} body holds a NUL character", field=field)
        add = mail.add_alternative if index else mail.set_content
        add(body, subtype=subtype, charset="utf-8")


def _attach(mail: EmailMessage, attachment: OutgoingAttachment) -> None:
    maintype, slash, subtype = attachment.content_type.partition("/")
    if not slash or maintype in {"multipart", "message"}:
        # RFC 2046 sections 5.1 and 5.2.1: those can't be base64, which keeps octets as they are.
        raise Invalid(f"no attachment can be of the type {maintype!r}", field="attachments")
    name = _clean(attachment.filename, "attachments")
    if attachment.content_id is None:
        mail.add_attachment(attachment.content, maintype=maintype, subtype=subtype, filename=name)
        return
    html = mail.get_body(("html",))
    if html is None:
        raise Invalid("an attachment with a contentId needs an HTML body", field="attachments")
    html.add_related(
        attachment.content,
        maintype=maintype,
        subtype=subtype,
        filename=name,
        disposition="inline",
        cid=f"<{_clean(attachment.content_id, 'attachments')}>",
    )


def _too_large(limit: int) -> Invalid:
    return Invalid(f"the message is larger than {limit} octets", field="attachments")


def _address(text: str, field: str) -> Address:
    """``lena@acme.com`` or ``Lena <lena@acme.com>``, checked strictly: RFC 5322 without comments,
    quoted local parts, address literals or international characters (no SMTPUTF8)."""
    text = _clean(text, field).strip()
    named = _NAMED.fullmatch(text)
    name = named["name"].strip().strip('"') if named else ""
    spec = named["address"].strip() if named else text
    local, _, domain = spec.rpartition("@")
    if len(local) > 64 or not _LOCAL.fullmatch(local) or not _DOMAIN.fullmatch(domain):
        raise Invalid(f"{text!r} is not an e-mail address", field=field)
    return Address(name, local, domain)


def _clean(text: str, field: str) -> str:
    _encodable(text, field)
    if _CONTROL.search(text):
        raise Invalid(f"{field} holds a line break or another control character", field=field)
    if _ENCODED.search(text):
        raise Invalid(f"{field} holds an encoded word: give the text itself", field=field)
    return text


def _encodable(text: str, field: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise Invalid(f"{field} holds half of a surrogate pair", field=field) from error
