"""Rows to the dialect's JSON. Pure: no session, no rules."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Literal
from uuid import UUID

from api.adbtd import mailbox_schemas, schemas
from orchestrator import models
from orchestrator.conditions import Status, Type
from orchestrator.dns.records import ExpectedRecord, Purpose
from orchestrator.mail.types import Folder, FolderPage, MessageDetail, MessageSummary, QuotaUsage
from orchestrator.services import status
from orchestrator.services.conditions import Observed
from orchestrator.services.mailboxes import Placed
from orchestrator.services.provisioning import Verdict

SUBMISSION_PORT = 587
IMAP_PORT = 993

_TYPES = {
    Purpose.OWNERSHIP: Type.OWNERSHIP_PROVEN,
    Purpose.MX: Type.MX_OK,
    Purpose.SPF: Type.SPF_OK,
    Purpose.DKIM: Type.DKIM_OK,
    Purpose.DMARC: Type.DMARC_OK,
}


def public_id(prefix: str, key: UUID) -> str:
    """An id such as ``mb_0192…``."""
    return f"{prefix}_{key.hex}"


def timestamp(moment: datetime) -> str:
    """Such as ``2026-04-01T12:00:00.000Z``."""
    text = moment.astimezone(UTC).isoformat(timespec="milliseconds")
    return text.removesuffix("+00:00") + "Z"


def optional_timestamp(moment: datetime | None) -> str | None:
    """The same, where there may be none."""
    return None if moment is None else timestamp(moment)


def me(workspace: models.Workspace, key: models.ApiKey) -> schemas.Me:
    """GET /me."""
    return schemas.Me(
        workspace=schemas.Workspace(
            id=public_id("ws", workspace.id),
            slug=workspace.slug,
            name=workspace.name,
            currency=workspace.currency,
        ),
        api_key=schemas.ApiKey(id=public_id("key", key.id), name=key.name),
    )


def key(row: models.ApiKey) -> schemas.Key:
    """An item of GET /keys."""
    return schemas.Key(
        id=public_id("key", row.id),
        name=row.name,
        prefix=row.hint,
        scope=row.scope,
        mailbox_id=None if row.mailbox_id is None else public_id("mb", row.mailbox_id),
        expires_at=optional_timestamp(row.expires_at),
        allowed_ips=row.allowed_ips,
        created_at=timestamp(row.created_at),
        last_used_at=optional_timestamp(row.last_used_at),
    )


def new_key(row: models.ApiKey, token: str) -> schemas.NewKey:
    """POST /keys."""
    base = key(row)
    return schemas.NewKey(
        **{name: getattr(base, name) for name in base.__struct_fields__}, token=token
    )


def domain(row: models.Domain, selector: str, observed: Observed) -> schemas.Domain:
    """An item of GET /domains."""
    return schemas.Domain(
        id=public_id("dom", row.id),
        name=row.name,
        mode=row.mode,
        status=status.domain_status(row, observed),
        spf_ok=status.holds(row, Type.SPF_OK, observed),
        dkim_ok=status.holds(row, Type.DKIM_OK, observed),
        dmarc_ok=status.holds(row, Type.DMARC_OK, observed),
        mx_ok=status.holds(row, Type.MX_OK, observed),
        dkim_selector=selector,
        created_at=timestamp(row.created_at),
        last_verified_at=optional_timestamp(row.checked_at if row.verified_at else None),
    )


def domain_detail(
    row: models.Domain,
    selector: str,
    observed: Observed,
    records: Sequence[ExpectedRecord],
    awaited: Mapping[str, bool],
) -> schemas.DomainDetail:
    """GET /domains/:id; ``awaited`` tells of each new key's record whether it was seen."""
    base = domain(row, selector, observed)
    return schemas.DomainDetail(
        **{name: getattr(base, name) for name in base.__struct_fields__},
        records=[
            _awaited(record, seen=awaited[record.name])
            if record.name in awaited
            else _record(row, record, observed)
            for record in records
        ],
    )


def _awaited(record: ExpectedRecord, *, seen: bool) -> schemas.DnsRecord:
    return schemas.DnsRecord(
        purpose=record.purpose,
        type=record.type,
        name=record.name,
        value=record.value,
        status="ok" if seen else "unknown",
        detail="the next key signs once this record has been seen for its TTL",
    )


def _record(row: models.Domain, record: ExpectedRecord, observed: Observed) -> schemas.DnsRecord:
    condition = observed.get((row.id, _TYPES[record.purpose]))
    seen: Literal["ok", "failed", "unknown"]
    match condition and condition.status:
        case Status.TRUE:
            seen = "ok"
        case Status.FALSE:
            seen = "failed"
        case _:
            seen = "unknown"
    return schemas.DnsRecord(
        purpose=record.purpose,
        type=record.type,
        name=record.name,
        value=record.value,
        status=seen,
        detail=condition.message if condition else "not checked yet",
    )


def domain_order(order: models.Order) -> schemas.DomainOrder:
    """POST /domains."""
    return schemas.DomainOrder(
        order_id=public_id("ord", order.id), status=order.status, domain=order.detail["domain"]
    )


def ip(row: models.Address) -> schemas.Ip:
    """An item of GET /ips."""
    return schemas.Ip(
        id=public_id("ip", row.id),
        address=row.ip,
        status=row.state,
        allocated_at=optional_timestamp(row.allocated_at),
        last_reputation_at=optional_timestamp(row.reputation_at),
        reputation_flags=row.reputation_flags,
    )


def ip_order(order: models.Order) -> schemas.IpOrder:
    """POST /ips."""
    return schemas.IpOrder(
        order_id=public_id("ord", order.id), status=order.status, ips=len(order.detail["ips"])
    )


def mailbox(placed: Placed, observed: Observed) -> schemas.Mailbox:
    """An item of GET /mailboxes; also GET /mailboxes/:id."""
    row, its_domain, address, host = placed
    return schemas.Mailbox(
        id=public_id("mb", row.id),
        email=row.email,
        smtp_host=address.ip,
        imap_host=address.ip,
        submission_port=SUBMISSION_PORT,
        imap_port=IMAP_PORT,
        status=status.mailbox_status(row, its_domain, host, observed),
        created_at=timestamp(row.created_at),
    )


def login(row: models.Mailbox, password: str) -> mailbox_schemas.Login:
    """POST /mailboxes/:id/password."""
    return mailbox_schemas.Login(id=public_id("mb", row.id), email=row.email, password=password)


def quota(row: models.Mailbox) -> mailbox_schemas.Quota:
    """PATCH /mailboxes/:id."""
    return mailbox_schemas.Quota(
        id=public_id("mb", row.id), email=row.email, quota_mib=row.quota_mib
    )


def usage(seen: QuotaUsage) -> mailbox_schemas.Usage:
    """GET /mailboxes/:id/quota."""
    return mailbox_schemas.Usage(used_kib=seen.used_kib, limit_kib=seen.limit_kib)


def alias(row: models.Alias) -> mailbox_schemas.Alias:
    """An item of GET /mailboxes/:id/aliases; also the answer of POST."""
    return mailbox_schemas.Alias(email=row.email, created_at=timestamp(row.created_at))


def mailbox_order(order: models.Order) -> schemas.MailboxOrder:
    """POST /mailboxes."""
    return schemas.MailboxOrder(
        order_id=public_id("ord", order.id), status=order.status, emails=order.detail["emails"]
    )


def order(row: models.Order, verdict: Verdict) -> schemas.Order:
    """GET /orders/:id; also an item of GET /orders."""
    return schemas.Order(
        id=public_id("ord", row.id),
        kind=row.kind,
        status=verdict.status,
        reason=verdict.reason or None,
        created_at=timestamp(row.created_at),
        settled_at=optional_timestamp(row.settled_at),
        **row.detail,
    )


def folder(row: Folder) -> schemas.Folder:
    """An item of GET /mailboxes/:id/folders."""
    return schemas.Folder(
        name=row.name,
        delimiter=row.delimiter,
        special_use=row.special_use,
        total=row.total,
        unseen=row.unseen,
    )


def message_list(page: FolderPage) -> schemas.MessageList:
    """GET /mailboxes/:id/messages."""
    return schemas.MessageList(
        folder=page.folder,
        total=page.total,
        messages=[_summary(message) for message in page.messages],
        next_before=page.next_before,
    )


def _summary(message: MessageSummary) -> schemas.Summary:
    return schemas.Summary(
        uid=message.uid,
        message_id=message.message_id,
        subject=message.subject,
        sender=list(message.sender),
        to=list(message.to),
        cc=list(message.cc),
        date=optional_timestamp(message.date),
        flags=list(message.flags),
        size=message.size,
        seen=_seen(message),
    )


def message(detail: MessageDetail) -> schemas.Message:
    """GET /mailboxes/:id/messages/:uid."""
    summary = detail.summary
    return schemas.Message(
        uid=summary.uid,
        message_id=summary.message_id,
        subject=summary.subject,
        sender=_joined(summary.sender),
        to=_joined(summary.to),
        cc=_joined(summary.cc),
        date=optional_timestamp(summary.date),
        text=detail.text,
        html=detail.html,
        attachments=[
            schemas.Attachment(
                filename=part.filename,
                content_type=part.content_type,
                size=part.size,
                content_id=part.content_id,
            )
            for part in detail.attachments
        ],
        flags=list(summary.flags),
        seen=_seen(summary),
    )


def _joined(addresses: Sequence[str]) -> str | None:
    return ", ".join(addresses) or None


def _seen(message: MessageSummary) -> bool:
    # Flags are case-insensitive (RFC 9051).
    return any(flag.lower() == "\\seen" for flag in message.flags)
