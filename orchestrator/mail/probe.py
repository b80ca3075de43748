"""The message that proves from which address a host's mail leaves."""

import uuid
from datetime import UTC, datetime
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime


def build_probe(sender: str, recipient: str) -> bytes:
    """A small RFC 5322 message, ASCII with CRLF line ends, ready for submission.

    Raises ``ValueError`` when an address holds a line break.
    """
    mail = EmailMessage(policy=SMTP)
    mail["From"] = sender
    mail["To"] = recipient
    mail["Subject"] = "Mailfleet egress probe"
    mail["Date"] = format_datetime(datetime.now(UTC))
    mail["Message-ID"] = f"<{uuid.uuid4().hex}@{sender.rpartition('@')[2]}>"
    # RFC 3834: nobody's autoresponder should answer.
    mail["Auto-Submitted"] = "auto-generated"
    mail.set_content("This message shows from which address mail leaves this host.\n")
    return mail.as_bytes()
