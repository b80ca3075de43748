"""Domains that are sent from through a cluster: added, proven by their DKIM record, deleted.

They receive no mail and take nothing from others: a cluster's proof is a record with its own key.
"""

from collections.abc import Sequence
from uuid import UUID

from sqlmodel import Session, col, select

from orchestrator import dkim
from orchestrator.errors import Conflict, Invalid, NotFound
from orchestrator.models import Cluster, Credential, DkimKey, DkimState, Domain, utcnow
from orchestrator.secrets import Vault
from orchestrator.services import dkim_rotation, domains, validation
from orchestrator.services.rows import lock, lock_name, unique
from orchestrator.services.wake import wake_cluster
from orchestrator.settings import Settings

_TAKEN = "The name has already been taken."


def add(session: Session, vault: Vault, settings: Settings, cluster: Cluster, name: str) -> Domain:
    """Add a domain with a signing key; it may be sent from once the key's record is seen.

    :raises Invalid: when the name can't be a tenant's.
    :raises Conflict: when the cluster has it already, or another workspace has proven it.
    """
    name = validation.fqdn(name)
    domains.refuse_own(settings, name)
    # Before the first query: on SQLite that starts the transaction, and this takes 0.1 s.
    pair = dkim.generate()
    lock_name(session, name)
    if domains.proven_elsewhere(session, name, cluster.workspace_id):
        raise Conflict(_TAKEN, field="name")
    domain = Domain(name=name, workspace_id=cluster.workspace_id, cluster_id=cluster.id)
    with unique(session, _TAKEN, field="name"):
        session.add(domain)
    dkim_rotation.add(session, vault, domain, pair)
    return domain


def list_(session: Session, cluster: Cluster) -> list[Domain]:
    """The cluster's domains, oldest first."""
    rows = select(Domain).where(Domain.cluster_id == cluster.id, col(Domain.deleted_at).is_(None))
    return list(session.exec(rows.order_by(col(Domain.id))))


def get(session: Session, cluster: Cluster, name: str) -> Domain:
    """The cluster's domain of that name, in whatever case it is written."""
    try:
        wanted = validation.fqdn(name)
    except Invalid:
        wanted = ""
    rows = select(Domain).where(
        Domain.cluster_id == cluster.id,
        Domain.name == wanted,
        col(Domain.deleted_at).is_(None),
    )
    row = session.exec(rows).first()
    if row is None:
        raise NotFound("there is no such domain in this cluster")
    return row


def key(session: Session, domain: Domain) -> DkimKey:
    """The key that signs for a domain, or will at first."""
    return keys(session, [domain])[domain.id]


def keys(session: Session, domains: Sequence[Domain]) -> dict[UUID, DkimKey]:
    """The same of several domains, by the domain's id."""
    rows = select(DkimKey).where(
        col(DkimKey.domain_id).in_([domain.id for domain in domains]),
        DkimKey.state != DkimState.RETIRED,
    )
    # The last one counts: "active" stands before "pending".
    held = session.exec(rows.order_by(col(DkimKey.state).desc()))
    return {row.domain_id: row for row in held}


def delete(session: Session, cluster: Cluster, name: str) -> None:
    """Delete a domain: from now on nothing is sent as it.

    Credentials forget it; they don't come to have it again when it is added anew.
    """
    lock(session, Cluster, [cluster.id])
    domain = get(session, cluster, name)
    now = domain.deleted_at = utcnow()
    session.add(domain)
    rows = select(Credential).where(
        Credential.cluster_id == cluster.id, col(Credential.deleted_at).is_(None)
    )
    for credential in session.exec(rows.order_by(col(Credential.id))):
        if domain.name in credential.domains:
            credential.domains = [kept for kept in credential.domains if kept != domain.name]
            credential.updated_at = now
            session.add(credential)
    session.flush()
    wake_cluster(session, cluster.id)
