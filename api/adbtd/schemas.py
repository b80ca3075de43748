"""The dialect's JSON, as documented. Requests refuse unknown fields."""

from datetime import datetime
from typing import Annotated, Generic, Literal, TypeVar

from msgspec import UNSET, Meta, Struct, UnsetType, field

from orchestrator.models import KeyScope, OrderKind, OrderStatus
from orchestrator.services.status import DomainStatus, MailboxStatus

T = TypeVar("T")


class Request(Struct, rename="camel", forbid_unknown_fields=True, kw_only=True):
    """Base of request bodies."""


class Answer(Struct, rename="camel", kw_only=True):
    """Base of answers."""


class Data(Struct, Generic[T]):
    """The envelope of every success."""

    data: T


class Error(Answer, omit_defaults=True):
    """What went wrong: ``code`` for programs, ``message`` for people.

    ``checkoutUrl``, with 402 only: where to leave a payment method.
    """

    code: str
    message: str
    checkout_url: str | None = None


class Failure(Answer):
    """The envelope of every failure."""

    error: Error


class AddDomain(Request):
    """Body of POST /domains."""

    name: str
    mode: Literal["byo", "buy"] = "byo"


class OrderIps(Request):
    """Body of POST /ips: 1 to 10."""

    count: int


class CreateMailboxes(Request):
    """Body of POST /mailboxes."""

    emails: list[str]


class CreateKey(Request):
    """Body of POST /keys; ``expiresAt`` is a moment with its time zone (RFC 3339)."""

    name: str
    scope: Literal["full", "read", "send"] = "full"
    mailbox_id: str | None = None
    expires_at: Annotated[datetime, Meta(tz=True)] | None = None
    allowed_ips: list[str] = []


class Workspace(Answer):
    """A workspace."""

    id: str
    slug: str
    name: str
    currency: str


class ApiKey(Answer):
    """An API key, without its secret."""

    id: str
    name: str


class Key(Answer):
    """An item of GET /keys; ``prefix`` is what the token begins with after ``adbtd_live_``."""

    id: str
    name: str
    prefix: str
    scope: KeyScope
    mailbox_id: str | None
    expires_at: str | None
    allowed_ips: list[str]
    created_at: str
    last_used_at: str | None


class NewKey(Key):
    """Answer of POST /keys."""

    token: str


class KeyRevoked(Answer):
    """Answer of DELETE /keys/:id."""

    revoked: str


class Me(Answer):
    """Answer of GET /me."""

    workspace: Workspace
    api_key: ApiKey


class Domain(Answer):
    """A domain with its verification flags."""

    id: str
    name: str
    mode: str
    status: DomainStatus
    spf_ok: bool
    dkim_ok: bool
    dmarc_ok: bool
    mx_ok: bool
    dkim_selector: str
    created_at: str
    last_verified_at: str | None


class DnsRecord(Answer):
    """A record to copy into the domain's DNS, and whether it was seen there."""

    purpose: str
    type: str
    name: str
    value: str
    status: Literal["ok", "failed", "unknown"]
    detail: str


class DomainDetail(Domain):
    """Answer of GET /domains/:id (ours)."""

    records: list[DnsRecord]


class DomainOrder(Answer):
    """Answer of POST /domains."""

    order_id: str
    status: str
    domain: str


class DomainDeleted(Answer):
    """Answer of DELETE /domains/:id."""

    deleted_mailboxes: int


class Ip(Answer):
    """A dedicated IP."""

    id: str
    address: str
    status: str
    allocated_at: str | None
    last_reputation_at: str | None
    reputation_flags: list[str] | None


class IpOrder(Answer):
    """Answer of POST /ips."""

    order_id: str
    status: str
    ips: int


class IpReleased(Answer):
    """Answer of DELETE /ips/:id."""

    released: str
    cancelled_subscription: bool


class Mailbox(Answer):
    """A mailbox and where clients connect to."""

    id: str
    email: str
    smtp_host: str
    imap_host: str
    submission_port: int
    imap_port: int
    status: MailboxStatus
    created_at: str


class MailboxOrder(Answer):
    """Answer of POST /mailboxes."""

    order_id: str
    status: str
    emails: list[str]


class MailboxDeleted(Answer):
    """Answer of DELETE /mailboxes/:id."""

    deleted: str


class Summary(Answer):
    """One message of a list: addresses are arrays."""

    uid: int
    message_id: str | None
    subject: str | None
    sender: list[str] = field(name="from")
    to: list[str]
    cc: list[str]
    date: str | None
    flags: list[str]
    size: int
    seen: bool


class MessageList(Answer):
    """Answer of GET /mailboxes/:id/messages."""

    folder: str
    total: int
    messages: list[Summary]
    next_before: int | None


class Attachment(Answer):
    """Metadata of an attachment."""

    filename: str | None
    content_type: str
    size: int
    content_id: str | None


class Folder(Answer):
    """An item of GET /mailboxes/:id/folders (ours); specialUse is such as ``\\Sent``."""

    name: str
    delimiter: str | None
    special_use: str | None
    total: int
    unseen: int


class Message(Answer):
    """Answer of GET /mailboxes/:id/messages/:uid: addresses are strings."""

    uid: int
    message_id: str | None
    subject: str | None
    sender: str | None = field(name="from")
    to: str | None
    cc: str | None
    date: str | None
    text: str | None
    html: str | None
    attachments: list[Attachment]
    flags: list[str]
    seen: bool


class Order(Answer):
    """An order; of ``domain``, ``ips`` and ``emails`` it has the one that was ordered."""

    id: str
    kind: OrderKind
    status: OrderStatus
    reason: str | None
    created_at: str
    settled_at: str | None
    domain: str | UnsetType = UNSET
    ips: list[str] | UnsetType = UNSET
    emails: list[str] | UnsetType = UNSET
