"""Which removals somebody asked for: the database still knows what was deleted, moved or released.

A wrong database, an old backup or a defect of ours knows nothing of it, or wants it still.
"""

from collections.abc import Iterator, Sequence
from uuid import UUID

from sqlmodel import Session, col, select
from sqlmodel.sql.expression import SelectOfScalar

from orchestrator.models import Address, AddressState, Credential, Domain, Host, Mailbox, Workspace

#: Names in one question: databases limit the values of a statement.
BATCH = 5000


def asked_for(session: Session, host: Host, names: Sequence[str]) -> set[str]:
    """Those of the names, served by the host until now, that its tenants have taken from it.

    :param names: mailboxes' addresses, domains, and logins of credentials.
    """
    found: set[str] = set()
    for batch in _batches(names):
        found.update(session.exec(_mailboxes(host).where(col(Mailbox.email).in_(batch))))
        found.update(session.exec(_domains(host).where(col(Domain.name).in_(batch))))
        found.update(session.exec(_cluster_domains(host).where(col(Domain.name).in_(batch))))
        found.update(session.exec(_logins(host).where(col(Credential.login).in_(batch))))
    return found


def _batches(names: Sequence[str]) -> Iterator[Sequence[str]]:
    return (names[start : start + BATCH] for start in range(0, len(names), BATCH))


def _mailboxes(host: Host) -> SelectOfScalar[str]:
    """Mailboxes that are deleted, or live somewhere else now."""
    return (
        select(Mailbox.email)
        .join(Address, col(Address.id) == col(Mailbox.address_id))
        .where(
            col(Mailbox.deleted_at).is_not(None)
            | (col(Address.host_id) != host.id)
            | (col(Address.state) != AddressState.ASSIGNED)
        )
    )


def _domains(host: Host) -> SelectOfScalar[str]:
    """Domains that are deleted, or whose workspace has no address on the host any more."""
    return select(Domain.name).where(
        col(Domain.workspace_id).is_not(None),
        col(Domain.cluster_id).is_(None),
        col(Domain.deleted_at).is_not(None) | col(Domain.workspace_id).not_in(_tenants(host)),
    )


def _tenants(host: Host) -> SelectOfScalar[UUID]:
    """Workspaces with an address on the host."""
    return (
        select(Workspace.id)
        .join(Address, col(Address.workspace_id) == col(Workspace.id))
        .where(Address.host_id == host.id, Address.state == AddressState.ASSIGNED)
    )


def _cluster_domains(host: Host) -> SelectOfScalar[str]:
    """Domains that are deleted from the host's cluster, or of another one.

    A name may be in several clusters, and beside them a mailbox's: one that is still served here
    in either way was not taken away.
    """
    of_cluster = col(Domain.cluster_id).is_not(None)
    kept = select(Domain.name).where(
        col(Domain.deleted_at).is_(None),
        (of_cluster & (col(Domain.cluster_id) == host.cluster_id))
        | (~of_cluster & col(Domain.workspace_id).in_(_tenants(host))),
    )
    return select(Domain.name).where(of_cluster, col(Domain.name).not_in(kept))


def _logins(host: Host) -> SelectOfScalar[str]:
    """Logins that are deleted from the host's cluster, or of another one; all where it leaves."""
    rows = select(Credential.login)
    if host.cluster_id is None or host.leaving_since is not None:
        return rows
    kept = select(Credential.login).where(
        Credential.cluster_id == host.cluster_id, col(Credential.deleted_at).is_(None)
    )
    # Another cluster may have the same login.
    return rows.where(col(Credential.login).not_in(kept))
