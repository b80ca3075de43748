"""The hosts' certificates: there is always one, for the present names, with time left."""

from sqlmodel import Session, col, select

from orchestrator.models import Certificate, Host, utcnow
from orchestrator.secrets import Vault
from orchestrator.spec import certificate_names
from orchestrator.tls import Authority, needs_renewal


def ensure(session: Session, vault: Vault, authority: Authority, host: Host) -> Certificate:
    """Give the host's certificate; a new one where names changed or a third of it is left."""
    names = certificate_names(session, host)
    newest = (
        select(Certificate)
        .where(Certificate.host_id == host.id)
        .order_by(col(Certificate.created_at).desc())
    )
    current = session.exec(newest).first()
    now = utcnow()
    if current and current.names == names and not needs_renewal(current.not_after, now):
        return current
    issued = authority.issue(names, now)
    row = Certificate(
        host_id=host.id,
        names=names,
        chain=issued.chain,
        private_key=vault.encrypt(issued.private_key),
        not_after=issued.not_after,
    )
    session.add(row)
    if current:
        session.delete(current)
    return row
