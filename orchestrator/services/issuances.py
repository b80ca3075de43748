"""Getting certificates from their source: whose turn it is, and what came of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from sqlmodel import Session, col, select

from orchestrator.issuers.issued import IssuanceError, Issued
from orchestrator.models import AcmeAccount, Host, Issuance
from orchestrator.secrets import Vault
from orchestrator.services import certificates
from orchestrator.services.rows import unique
from orchestrator.services.wake import wake
from orchestrator.settings import CertificateSource
from orchestrator.spec import carried, certificate_of

#: How long whoever takes up a host has it to itself.
CLAIM = timedelta(minutes=15)
#: How often it is seen how things stand, and whether an operator's files are others.
LOOK = timedelta(hours=1)
FILES = timedelta(seconds=30)


@dataclass(frozen=True)
class Task:
    """A host's certificate to see to. ``wanted`` tells that a new one is to be got.

    ``names`` are DNS names, the host's own first; ``failures`` are those in a row so far.
    """

    host_id: UUID
    names: tuple[str, ...]
    wanted: bool
    failures: int


def due(session: Session, now: datetime, limit: int) -> Sequence[UUID]:
    """The hosts whose certificate is to be seen to, longest due first, at most ``limit``."""
    rows = select(Issuance.host_id).where(Issuance.due_at <= now)
    return session.exec(rows.order_by(col(Issuance.due_at), col(Issuance.id)).limit(limit)).all()


def take(session: Session, source: CertificateSource, host_id: UUID, now: datetime) -> Task | None:
    """Take up what is due for a host; None when nothing is, or somebody else has it."""
    mine = select(Issuance).where(Issuance.host_id == host_id, Issuance.due_at <= now)
    row = session.exec(mine.with_for_update(skip_locked=True)).first()
    if row is None:
        return None
    names = certificates.dns_names(
        carried(session, session.get_one(Host, host_id)).certificate_names
    )
    row.source, row.names, row.due_at = source, names, now + CLAIM
    wanted = source is not CertificateSource.AUTHORITY and (
        source is CertificateSource.FILES or _outdated(session, source, host_id, names, now)
    )
    return Task(host_id, tuple(names), wanted, row.failures)


def done(
    session: Session,
    vault: Vault,
    source: CertificateSource,
    task: Task,
    issued: Issued | None,
    *,
    now: datetime,
) -> None:
    """Write down that all is well, with what was issued if anything was."""
    row = _claimed(session, task)
    if row is None:
        return
    present = certificate_of(session, task.host_id)
    if issued is not None and (present is None or present.chain != issued.chain):
        certificates.keep(session, vault, task.host_id, source, issued, names=task.names)
        wake(session, [task.host_id])
    row.failures, row.reason, row.message = 0, None, ""
    row.due_at = now + (FILES if source is CertificateSource.FILES else LOOK)
    certificates.judge(session, source, session.get_one(Host, task.host_id), now)


def failed(
    session: Session,
    source: CertificateSource,
    task: Task,
    error: IssuanceError,
    *,
    wait: timedelta,
    now: datetime,
) -> None:
    """Write down why there is none, and when it is tried again."""
    row = _claimed(session, task)
    if row is None:
        return
    row.failures, row.reason, row.message = task.failures + 1, error.reason, str(error)
    row.due_at = now + wait
    certificates.judge(session, source, session.get_one(Host, task.host_id), now)


def account_key(session: Session, vault: Vault, directory_url: str, new_key: str) -> str:
    """The key (PEM) of our account at an ACME server: ``new_key`` if there is none yet.

    It is kept before it is used, so that no account is ever lost.

    :raises Conflict: when another process has just made one.
    """
    found = select(AcmeAccount).where(AcmeAccount.directory_url == directory_url)
    row = session.exec(found).first()
    if row is None:
        row = AcmeAccount(directory_url=directory_url, private_key=vault.encrypt(new_key))
        with unique(session, f"there is an account at {directory_url} already"):
            session.add(row)
    return vault.decrypt(row.private_key)


def _outdated(
    session: Session,
    source: CertificateSource,
    host_id: UUID,
    names: list[str],
    now: datetime,
) -> bool:
    row = certificate_of(session, host_id)
    return row is None or row.source != source or row.names != names or row.renew_at <= now


def _claimed(session: Session, task: Task) -> Issuance | None:
    """The task's row; None when other names were asked for since, or the host is gone."""
    row = certificates.issuance(session, task.host_id)
    if row is None or tuple(row.names) != task.names:
        return None
    return row
