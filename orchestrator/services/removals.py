"""Which removals somebody asked for: the database still knows what was deleted, moved or released.

A wrong database, an old backup or a defect of ours knows nothing of it, or wants it still.
"""

from collections.abc import Iterator, Sequence

from sqlmodel import Session, col, select
from sqlmodel.sql.expression import SelectOfScalar

from orchestrator.models import Address, AddressState, Domain, Host, Mailbox

#: Names in one question: databases limit the values of a statement.
BATCH = 5000


def asked_for(session: Session, host: Host, names: Sequence[str]) -> set[str]:
    """Those of the names, served by the host until now, that its tenants have taken from it.

    :param names: mailboxes' addresses and domains.
    """
    found: set[str] = set()
    for batch in _batches(names):
        found.update(session.exec(_mailboxes(host).where(col(Mailbox.email).in_(batch))))
        found.update(session.exec(_domains(host).where(col(Domain.name).in_(batch))))
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
    here = select(Address.workspace_id).where(
        Address.host_id == host.id, Address.state == AddressState.ASSIGNED
    )
    return select(Domain.name).where(
        col(Domain.workspace_id).is_not(None),
        col(Domain.deleted_at).is_not(None) | col(Domain.workspace_id).not_in(here),
    )
