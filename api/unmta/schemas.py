"""The dialect's JSON, as documented. What is unset in a request stays as it is."""

from typing import Generic, Literal, TypeVar

from msgspec import UNSET, Struct, UnsetType

from orchestrator.services.clusters import ClusterStatus
from orchestrator.services.status import DomainStatus

T = TypeVar("T")


class Request(Struct, forbid_unknown_fields=True, kw_only=True):
    """Base of request bodies."""


class Answer(Struct, kw_only=True):
    """Base of answers."""


class Data(Struct, Generic[T]):
    """The envelope of every success."""

    data: T


class Failure(Answer):
    """The envelope of every failure."""

    message: str


class ValidationFailure(Failure):
    """The envelope of 422: what is wrong with each field; ``message`` is the first of it."""

    errors: dict[str, list[str]]


class CreateDomain(Request):
    """Body of POST /clusters/{cluster}/domains."""

    name: str


class UpdateCredential(Request):
    """Body of PUT /clusters/{cluster}/credentials/{user}."""

    allow_all_domains: bool | UnsetType = UNSET
    domains: list[str] | UnsetType = UNSET
    allow_all_ips: bool | UnsetType = UNSET
    allowed_ips: list[str] | UnsetType = UNSET


class CreateCredential(UpdateCredential, kw_only=True):
    """Body of POST /clusters/{cluster}/credentials."""

    user: str


class Cluster(Answer):
    """An item of GET /clusters."""

    id: str
    hostname: str
    region: str
    status: ClusterStatus
    max_message_rate: str | None
    created_at: str
    updated_at: str


class OutboundIp(Answer):
    """Addresses that an MTA sends from under one name."""

    ipv4: str | None
    ipv6: str | None
    ptr: str


class Mta(Answer):
    """An item of GET /clusters/{cluster}/mtas."""

    id: str
    hostname: str
    primary_ipv4: str
    primary_ipv6: str | None
    outbound_ips: list[OutboundIp]
    created_at: str
    updated_at: str


class DnsRecord(Answer):
    """A record to copy into the domain's zone; ``name`` is relative to the domain."""

    type: Literal["TXT"]
    name: str
    value: str


class DnsRecords(Answer):
    """The records that a domain needs."""

    dkim: DnsRecord
    dmarc: DnsRecord


class Domain(Answer):
    """An item of GET /clusters/{cluster}/domains."""

    name: str
    status: DomainStatus
    dkim_public_key: str
    created_at: str
    updated_at: str


class DomainDetail(Answer):
    """The answer of GET and POST of one domain."""

    name: str
    status: DomainStatus
    dkim_public_key: str
    dns_records: DnsRecords
    created_at: str
    updated_at: str


class Credential(Answer):
    """An item of GET /clusters/{cluster}/credentials."""

    user: str
    allow_all_domains: bool
    domains: list[str]
    allow_all_ips: bool
    allowed_ips: list[str]
    created_at: str
    updated_at: str


class NewCredential(Answer):
    """The answer of POST /clusters/{cluster}/credentials: the password is told this once."""

    data: Credential
    password: str
