"""The hosts' certificates. There is always one: mail never waits for a source to deliver.

A host serves with what its source last gave. Until the first has come from files or ACME, and
when that one has expired without a successor, the operator's CA steps in.
"""

import ipaddress
from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from sqlmodel import Session, col, delete, select

from orchestrator.conditions import Reason, Status, Type
from orchestrator.issuers.authority import Authority
from orchestrator.issuers.issued import Issued
from orchestrator.models import Certificate, Host, Issuance, utcnow
from orchestrator.secrets import Vault
from orchestrator.services import conditions
from orchestrator.services.wake import wake
from orchestrator.settings import CertificateSource
from orchestrator.spec import Carried, carried, certificate_of


def issuance(session: Session, host_id: UUID) -> Issuance | None:
    """How its next one comes about; None before the first."""
    return session.exec(select(Issuance).where(Issuance.host_id == host_id)).first()


def dns_names(names: Sequence[str]) -> list[str]:
    """Those that are no IPs: only our own CA vouches for addresses."""
    return [name for name in names if not _is_ip(name)]


def settled(session: Session, source: CertificateSource, host: Host, own: Carried) -> bool:
    """Whether a pass has nothing to do here, so that ``ensure`` need not be called.

    Commonly what the host carries tells, and it takes no SELECT.
    """
    row, names = own.certificate, own.certificate_names
    if row is None or not _serves(row, source, names, utcnow()):
        return False
    if row.source is source and row.names in (names, dns_names(names)):
        return True
    task = issuance(session, host.id)
    return task is not None and (task.source, task.names) == (source, dns_names(names))


def ensure(
    session: Session, vault: Vault, source: CertificateSource, authority: Authority, host: Host
) -> None:
    """Let the CA sign where it has to, and ask the source again when the names have changed."""
    own, now = carried(session, host), utcnow()
    names, row, task = own.certificate_names, own.certificate, issuance(session, host.id)
    if row is None or not _serves(row, source, names, now):
        issued = authority.issue(names)
        keep(session, vault, host.id, CertificateSource.AUTHORITY, issued, names=names)
    asked = (source, dns_names(names))
    if task is None:
        session.add(Issuance(host_id=host.id, source=source, names=asked[1]))
    elif (task.source, task.names) != asked:
        task.source, task.names = asked
        task.due_at, task.failures = now, 0
    judge(session, source, host, now)


def keep(
    session: Session,
    vault: Vault,
    host_id: UUID,
    source: CertificateSource,
    issued: Issued,
    *,
    names: Sequence[str],
) -> None:
    """From now on the host serves with this one."""
    session.exec(delete(Certificate).where(col(Certificate.host_id) == host_id))
    session.add(
        Certificate(
            host_id=host_id,
            source=source,
            names=list(names),
            chain=issued.chain,
            private_key=vault.encrypt(issued.private_key),
            not_after=issued.not_after,
            renew_at=issued.renew_at,
        )
    )
    session.flush()


def renew(session: Session, host: Host) -> None:
    """Get the host a new certificate now, whatever time the present one has left."""
    now = utcnow()
    row, task = certificate_of(session, host.id), issuance(session, host.id)
    if row is not None:
        row.renew_at = now
    if task is not None:
        task.due_at, task.failures = now, 0
    wake(session, [host.id])


def judge(session: Session, source: CertificateSource, host: Host, now: datetime) -> None:
    """Write down how it stands with the host's certificate.

    While a good one is in force, a failing renewal is Unknown, with the reason: it takes
    nothing back yet.
    """
    verdict = _verdict(session, source, host, now)
    conditions.set_(session, host.id, Type.CERTIFICATE_VALID, *verdict)


def _verdict(
    session: Session, source: CertificateSource, host: Host, now: datetime
) -> tuple[Status, Reason, str]:
    own, task = carried(session, host), issuance(session, host.id)
    row, names = own.certificate, own.certificate_names
    if row is None:
        return Status.UNKNOWN, Reason.ISSUANCE_PENDING, "before its first pass"
    until = f"{row.source}, until {row.not_after:%Y-%m-%d %H:%M} UTC"
    failing = task if task is not None and task.source is source and task.failures else None
    problem = failing.message if failing is not None else ""
    if row.not_after <= now:
        return Status.FALSE, Reason.EXPIRED, f"{until}. {problem}".strip()
    wanted = names if row.source is CertificateSource.AUTHORITY else dns_names(names)
    complete = row.source is source and row.names == wanted
    if failing is not None:
        status = Status.UNKNOWN if complete else Status.FALSE
        reason = failing.reason or Reason.ISSUANCE_FAILED
        return status, reason, f"{problem} (in force: {until})"
    if not complete:
        return Status.UNKNOWN, Reason.ISSUANCE_PENDING, f"in force: {until}"
    return Status.TRUE, Reason.OBSERVED, until


def _serves(row: Certificate, source: CertificateSource, names: list[str], now: datetime) -> bool:
    if CertificateSource.AUTHORITY in (row.source, source):
        ours = row.source is CertificateSource.AUTHORITY
        return ours and row.names == names and now < row.renew_at
    return now < row.not_after


def _is_ip(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
