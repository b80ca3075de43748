"""From rows to what a host does as an MTA of a cluster."""

from collections.abc import Sequence

from sqlmodel import Session, col, select

from orchestrator import pace, transit
from orchestrator.hostspec import ClusterSpec, CredentialSpec
from orchestrator.models import Address, AddressState, Cluster, Credential, Domain, Host


def domains(session: Session, cluster: Cluster | None) -> list[Domain]:
    """The domains that are sent from through the cluster, by name: living and proven."""
    if cluster is None:
        return []
    rows = select(Domain).where(
        Domain.cluster_id == cluster.id,
        col(Domain.verified_at).is_not(None),
        col(Domain.deleted_at).is_(None),
    )
    return list(session.exec(rows.order_by(Domain.name)))


def build(
    session: Session,
    host: Host,
    cluster: Cluster | None,
    sending: Sequence[Domain],
    addresses: Sequence[Address],
) -> ClusterSpec:
    """Gather what the host does for its cluster: nothing without one.

    A host that leaves takes no submissions any more: it has no credentials.

    :param sending: the cluster's ``domains``.
    :param addresses: what the host carries.
    """
    if cluster is None:
        return ClusterSpec()
    names = tuple(domain.name for domain in sending)
    deleted = select(Domain.name).where(
        Domain.cluster_id == cluster.id, col(Domain.deleted_at).is_not(None)
    )
    return ClusterSpec(
        domains=names,
        former_domains=tuple(sorted(set(session.exec(deleted)) - set(names))),
        credentials=() if host.leaving_since else _credentials(session, cluster),
        egress_ips=_egress_ips(session, cluster, addresses),
        pace=pace.parse(cluster.max_message_rate) if cluster.max_message_rate else None,
    )


def _credentials(session: Session, cluster: Cluster) -> tuple[CredentialSpec, ...]:
    rows = select(Credential).where(
        Credential.cluster_id == cluster.id, col(Credential.deleted_at).is_(None)
    )
    return tuple(
        CredentialSpec(
            row.login,
            row.password_hash,
            None if row.allow_all_domains else tuple(row.domains),
            None if row.allow_all_ips else tuple(row.allowed_ips),
        )
        for row in session.exec(rows.order_by(Credential.login))
    )


def _egress_ips(
    session: Session, cluster: Cluster, addresses: Sequence[Address]
) -> tuple[str, ...]:
    # IPv4 only: large receivers are still not all reachable over IPv6.
    mine = [
        address
        for address in addresses
        if address.workspace_id == cluster.workspace_id
        and address.state is AddressState.ASSIGNED
        and address.version == 4
    ]
    going = transit.sources(session)
    staying = [address for address in mine if address.id not in going] or mine
    # One that is listed serves on where there is no other: mail that waits is no better.
    clean = [address for address in staying if not address.reputation_flags] or staying
    return tuple(address.ip for address in clean)
