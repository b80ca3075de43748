"""What passes between the services and the mail clients."""

from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path


@dataclass(frozen=True)
class MailboxAccess:
    """How to reach a mailbox on its host. ``ca_file`` verifies the host's certificate.

    With ``public_authorities`` those that this machine trusts are believed as well.
    ``host`` is the name to verify, ``address`` the IP to connect to.
    """

    email: str
    password: str = field(repr=False)
    host: str
    address: str
    ca_file: Path
    public_authorities: bool = False
    submission_port: int = 587
    imap_port: int = 993
    timeout: float = 20.0


@dataclass(frozen=True)
class OutgoingAttachment:
    """A file to send. With a ``content_id`` (without brackets) the HTML body may show it."""

    filename: str
    content_type: str
    content: bytes = field(repr=False)
    content_id: str | None = None


@dataclass(frozen=True)
class OutgoingMessage:
    """A message to submit. ``text`` or ``html`` or both are set; ``bcc`` gets no header."""

    to: tuple[str, ...]
    subject: str
    text: str | None = None
    html: str | None = None
    cc: tuple[str, ...] = ()
    bcc: tuple[str, ...] = ()
    from_name: str | None = None
    reply_to: str | None = None
    attachments: tuple[OutgoingAttachment, ...] = ()


@dataclass(frozen=True)
class Prepared:
    """A message in the form in which it is submitted: ASCII with CRLF line ends."""

    message_id: str
    recipients: tuple[str, ...]
    content: bytes = field(repr=False)


@dataclass(frozen=True)
class Submission:
    """What the submission server said. ``response`` is its last line, e.g. ``250 2.0.0 Ok``.

    ``refusals`` are its words about each of the ``rejected``.
    """

    message_id: str
    accepted: tuple[str, ...]
    rejected: tuple[str, ...]
    response: str
    refusals: tuple[str, ...] = ()


@dataclass(frozen=True)
class MessageSummary:
    """One line of a folder. Addresses are display strings such as ``Lena <lena@acme.com>``."""

    uid: int
    message_id: str | None
    subject: str | None
    sender: tuple[str, ...]
    to: tuple[str, ...]
    cc: tuple[str, ...]
    date: datetime | None
    flags: tuple[str, ...]
    size: int


@dataclass(frozen=True)
class Folder:
    """A folder; ``special_use`` is such as ``\\Sent`` (RFC 6154)."""

    name: str
    delimiter: str | None
    special_use: str | None
    total: int
    unseen: int


@dataclass(frozen=True)
class FolderPage:
    """Newest messages first. ``next_before`` is the UID to page on from, if there is more."""

    folder: str
    total: int
    messages: tuple[MessageSummary, ...]
    next_before: int | None


@dataclass(frozen=True)
class AttachmentInfo:
    """Metadata of an attachment; ``size`` is in bytes, decoded."""

    filename: str | None
    content_type: str
    size: int
    content_id: str | None


@dataclass(frozen=True)
class AttachmentContent:
    """An attachment with its decoded octets."""

    info: AttachmentInfo
    content: bytes = field(repr=False)


@dataclass(frozen=True)
class QuotaUsage:
    """How full a mailbox is, in KiB; ``limit_kib`` is None where there is none."""

    used_kib: int
    limit_kib: int | None


@dataclass(frozen=True)
class MessageDetail:
    """One message with its decoded bodies."""

    summary: MessageSummary
    text: str | None
    html: str | None
    attachments: tuple[AttachmentInfo, ...]
