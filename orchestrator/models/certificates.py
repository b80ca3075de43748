"""The hosts' certificates, and how they are come by."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import JSON
from sqlmodel import Field

from orchestrator.conditions import Reason
from orchestrator.models.base import Row, UtcDateTime, as_text, utcnow
from orchestrator.settings import CertificateSource


class Certificate(Row, table=True):
    """A host's TLS certificate; ``names`` are its DNS names and IPs, the host's own first."""

    host_id: UUID = Field(foreign_key="host.id", index=True)
    source: CertificateSource = Field(sa_type=as_text(CertificateSource))
    names: list[str] = Field(sa_type=JSON)
    chain: str
    private_key: str
    not_after: datetime = Field(sa_type=UtcDateTime)
    #: From then on a new one is asked for.
    renew_at: datetime = Field(sa_type=UtcDateTime)


class Issuance(Row, table=True):
    """How a host's next certificate comes about; one for each host that has a first one."""

    host_id: UUID = Field(foreign_key="host.id", unique=True)
    #: Of whom and for which DNS names it was last asked; other wishes are asked at once.
    source: CertificateSource = Field(sa_type=as_text(CertificateSource))
    names: list[str] = Field(sa_type=JSON)
    #: When it is seen to next. Who sees to it moves this ahead first, so that nobody else does.
    due_at: datetime = Field(default_factory=utcnow, sa_type=UtcDateTime, index=True)
    #: In a row, with what the last of them said.
    failures: int = 0
    reason: Reason | None = Field(default=None, sa_type=as_text(Reason))
    message: str = ""


class AcmeAccount(Row, table=True):
    """Our account at an ACME server: its key, encrypted. The server knows the rest by it."""

    directory_url: str = Field(unique=True)
    private_key: str
