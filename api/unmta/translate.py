"""Rows to the dialect's JSON. Pure: no session, no rules."""

from base64 import b32encode
from datetime import UTC, datetime
from hashlib import sha256
from uuid import UUID

from msgspec import UnsetType

from api.unmta import schemas
from orchestrator import models
from orchestrator.dns.records import CLUSTER_DMARC
from orchestrator.services import status
from orchestrator.services.clusters import ClusterStatus, Mta, Outbound
from orchestrator.services.conditions import Observed
from orchestrator.services.credentials import Restrictions

ID_LENGTH = 8


def timestamp(moment: datetime) -> str:
    """Such as ``2025-01-15T10:30:00Z``."""
    return f"{moment.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"


def public_id(key: UUID) -> str:
    """An id such as ``x1y2z3w4``, always the same for the same key."""
    return b32encode(sha256(key.bytes).digest()).decode().lower()[:ID_LENGTH]


def cluster(row: models.Cluster, status: ClusterStatus) -> schemas.Cluster:
    """An item of GET /clusters."""
    return schemas.Cluster(
        id=row.slug,
        hostname=row.hostname,
        region=row.region,
        status=status,
        max_message_rate=row.max_message_rate,
        created_at=timestamp(row.created_at),
        updated_at=timestamp(row.updated_at),
    )


def mta(placed: Mta) -> schemas.Mta:
    """An item of GET /clusters/{cluster}/mtas; hosts have no IPv6 address of their own."""
    return schemas.Mta(
        id=public_id(placed.host.id),
        hostname=placed.host.hostname,
        primary_ipv4=placed.host.address,
        primary_ipv6=None,
        outbound_ips=[_outbound(pair) for pair in placed.outbound],
        created_at=timestamp(placed.since),
        updated_at=timestamp(placed.updated_at),
    )


def _outbound(pair: Outbound) -> schemas.OutboundIp:
    return schemas.OutboundIp(
        ipv4=None if pair.ipv4 is None else pair.ipv4.ip,
        ipv6=None if pair.ipv6 is None else pair.ipv6.ip,
        ptr=pair.ptr,
    )


def domain(row: models.Domain, key: models.DkimKey, observed: Observed) -> schemas.Domain:
    """An item of GET /clusters/{cluster}/domains."""
    return schemas.Domain(
        name=row.name,
        status=status.domain_status(row, observed),
        dkim_public_key=key.public_key,
        created_at=timestamp(row.created_at),
        updated_at=timestamp(row.verified_at or row.created_at),
    )


def domain_detail(
    row: models.Domain, key: models.DkimKey, observed: Observed
) -> schemas.DomainDetail:
    """The answer of GET and POST of one domain."""
    base = domain(row, key, observed)
    dkim = schemas.DnsRecord(
        type="TXT", name=f"{key.selector}._domainkey", value=f"p={key.public_key}"
    )
    dmarc = schemas.DnsRecord(type="TXT", name="_dmarc", value=CLUSTER_DMARC)
    return schemas.DomainDetail(
        **{name: getattr(base, name) for name in base.__struct_fields__},
        dns_records=schemas.DnsRecords(dkim=dkim, dmarc=dmarc),
    )


def credential(row: models.Credential) -> schemas.Credential:
    """An item of GET /clusters/{cluster}/credentials."""
    return schemas.Credential(
        user=row.username,
        allow_all_domains=row.allow_all_domains,
        domains=row.domains,
        allow_all_ips=row.allow_all_ips,
        allowed_ips=row.allowed_ips,
        created_at=timestamp(row.created_at),
        updated_at=timestamp(row.updated_at),
    )


def restrictions(data: schemas.UpdateCredential) -> Restrictions:
    """What a request says about a credential's restrictions."""
    said = {name: getattr(data, name) for name in Restrictions._fields}
    return Restrictions(
        **{name: value for name, value in said.items() if not isinstance(value, UnsetType)}
    )
