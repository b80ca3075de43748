"""Clusters: which hosts are MTAs of which workspace, and how fast they send."""

import secrets
import string
from collections.abc import Sequence
from datetime import datetime
from itertools import zip_longest
from typing import Literal, NamedTuple
from uuid import UUID

from sqlmodel import Session, col, delete, select

from orchestrator import pace
from orchestrator.conditions import Status, Type
from orchestrator.errors import Conflict, NotFound
from orchestrator.models import (
    Address,
    AddressState,
    Cluster,
    Condition,
    Credential,
    DkimKey,
    Domain,
    Host,
    Workspace,
    utcnow,
)
from orchestrator.services import addresses, conditions, validation
from orchestrator.services.rows import unique
from orchestrator.services.wake import wake, wake_cluster, wake_names
from orchestrator.settings import Settings

#: Of a public id: without vowels no word comes about.
_ALPHABET = "bcdfghjklmnpqrstvwxyz" + string.digits
SLUG_LENGTH = 8

ClusterStatus = Literal["active", "provisioning"]
MtaState = Literal["active", "provisioning", "leaving"]


class Outbound(NamedTuple):
    """A dedicated IPv4 address of an MTA and the IPv6 address beside it; one may be missing."""

    ipv4: Address | None
    ipv6: Address | None

    @property
    def ptr(self) -> str:
        """The reverse name: of the IPv4 address where there is one."""
        address = self.ipv4 or self.ipv6
        assert address is not None
        return address.ptr_name


class Mta(NamedTuple):
    """A host as an MTA of its cluster, with its workspace's dedicated addresses there."""

    host: Host
    outbound: list[Outbound]

    @property
    def since(self) -> datetime:
        """When it joined."""
        return self.host.joined_at or self.host.created_at

    @property
    def updated_at(self) -> datetime:
        """When the last of its addresses was assigned, or it joined."""
        held = [a for pair in self.outbound for a in (pair.ipv4, pair.ipv6) if a is not None]
        return max([self.since, *(a.allocated_at for a in held if a.allocated_at is not None)])


def create(session: Session, settings: Settings, workspace: Workspace, *, region: str) -> Cluster:
    """Make a cluster without MTAs; its name is below the fleet's domain."""
    slug = "".join(secrets.choice(_ALPHABET) for _ in range(SLUG_LENGTH))
    row = Cluster(
        workspace_id=workspace.id,
        slug=slug,
        hostname=f"c-{slug}.{settings.fleet_domain}",
        region=validation.slug(region, field="region"),
    )
    with unique(session, "this id is taken: try again"):
        session.add(row)
    return row


def list_(session: Session, workspace: Workspace | None = None) -> list[Cluster]:
    """The workspace's clusters, oldest first; without a workspace all."""
    rows = select(Cluster)
    if workspace is not None:
        rows = rows.where(Cluster.workspace_id == workspace.id)
    return list(session.exec(rows.order_by(col(Cluster.id))))


def get(session: Session, workspace: Workspace, slug: str) -> Cluster:
    """One of the workspace's clusters."""
    # Any text may be asked for, and PostgreSQL refuses to look for some.
    known = slug.isascii() and slug.isalnum()
    row = session.exec(select(Cluster).where(Cluster.slug == slug)).first() if known else None
    if row is None or row.workspace_id != workspace.id:
        raise NotFound("there is no such cluster")
    return row


def get_by_slug(session: Session, slug: str) -> Cluster:
    """The cluster of that id, whosever it is."""
    row = session.exec(select(Cluster).where(Cluster.slug == slug)).first()
    if row is None:
        raise NotFound(f"there is no cluster {slug}")
    return row


def status(session: Session, cluster: Cluster) -> ClusterStatus:
    """Active once one of its MTAs was seen converged since it joined."""
    states = mta_states(session, hosts(session, cluster))
    return "active" if "active" in states.values() else "provisioning"


def mta_states(session: Session, rows: Sequence[Host]) -> dict[UUID, MtaState]:
    """How far each of these hosts is as an MTA of its cluster, by the host's id."""
    seen = conditions.get_all(session, [host.id for host in rows])
    return {host.id: _mta_state(host, seen.get((host.id, Type.CONVERGED))) for host in rows}


def _mta_state(host: Host, seen: Condition | None) -> MtaState:
    if host.leaving_since is not None:
        return "leaving"
    converged = seen is not None and seen.known is Status.TRUE
    if converged and host.applied_at and host.joined_at and host.applied_at > host.joined_at:
        return "active"
    return "provisioning"


def members(session: Session, cluster: Cluster) -> list[Host]:
    """The hosts of the cluster, by name: also those that leave it."""
    rows = select(Host).where(Host.cluster_id == cluster.id)
    return list(session.exec(rows.order_by(Host.name)))


def hosts(session: Session, cluster: Cluster) -> list[Host]:
    """The hosts that take the cluster's submissions, by name: not those that leave it."""
    return [host for host in members(session, cluster) if host.leaving_since is None]


def mtas(session: Session, cluster: Cluster) -> list[Mta]:
    """The cluster's MTAs, in the order in which they joined."""
    rows = sorted(hosts(session, cluster), key=lambda host: (host.joined_at, host.id))
    return [Mta(host, _outbound(session, cluster, host)) for host in rows]


def addresses_on(session: Session, cluster: Cluster, host: Host) -> Sequence[Address]:
    """The dedicated addresses that the cluster's workspace has on a host, oldest first."""
    rows = select(Address).where(
        Address.host_id == host.id,
        Address.workspace_id == cluster.workspace_id,
        Address.state == AddressState.ASSIGNED,
    )
    return session.exec(rows.order_by(col(Address.allocated_at), col(Address.id))).all()


def _outbound(session: Session, cluster: Cluster, host: Host) -> list[Outbound]:
    held = addresses_on(session, cluster, host)
    of_version = ([a for a in held if a.version == 4], [a for a in held if a.version == 6])
    return [Outbound(v4, v6) for v4, v6 in zip_longest(*of_version)]


def add_mta(session: Session, cluster: Cluster, host: Host, *, count: int = 1) -> list[Address]:
    """Let a host be an MTA of the cluster.

    :param count: dedicated IPv4 addresses of the host that the workspace shall have there; what
        it lacks is taken from the pool.
    :returns: the addresses that were taken.
    :raises Conflict: when the host is an MTA already, of this or another cluster.
    :raises Unavailable: when the pool lacks addresses; the caller's transaction must then be
        undone.
    """
    if host.cluster_id is not None:
        raise Conflict(f"{host.name} is an MTA of a cluster already")
    workspace = session.get_one(Workspace, cluster.workspace_id)
    held = len([pair for pair in _outbound(session, cluster, host) if pair.ipv4 is not None])
    missing = max(0, count - held)
    taken = addresses.assign(session, workspace, count=missing, host=host) if missing else []
    host.cluster_id, host.joined_at = cluster.id, utcnow()
    _changed(session, cluster, host)
    return taken


def set_rate(session: Session, cluster: Cluster, rate: str | None) -> None:
    """Limit how fast each MTA of the cluster sends; None for no limit.

    :raises Invalid: when it is no rate (see ``pace.parse``).
    """
    if rate is not None:
        pace.parse(rate)
    cluster.max_message_rate, cluster.updated_at = rate, utcnow()
    session.add(cluster)
    session.flush()
    wake_cluster(session, cluster.id)


def leave(session: Session, host: Host) -> None:
    """Let an MTA take no more submissions; it sends on what it has, and then leaves the cluster.

    :raises Conflict: when it is no MTA.
    """
    if host.cluster_id is None:
        raise Conflict(f"{host.name} is no MTA of a cluster")
    if host.leaving_since is None:
        host.leaving_since = utcnow()
        _changed(session, session.get_one(Cluster, host.cluster_id), host)


def leaving(session: Session) -> list[Host]:
    """The hosts that leave their cluster, and are known to take no submissions for it."""
    rows = select(Host).where(
        col(Host.leaving_since).is_not(None), col(Host.applied_at) > col(Host.leaving_since)
    )
    return list(session.exec(rows.order_by(col(Host.id))))


def let_go(session: Session, host: Host) -> None:
    """The host has no mail of its cluster any more: it is none of its MTAs."""
    host.cluster_id = host.joined_at = host.leaving_since = None
    session.add(host)
    session.flush()
    wake(session, [host.id])


def remove(session: Session, cluster: Cluster) -> None:
    """Forget a cluster that has no MTAs, domains or credentials.

    :raises Conflict: when it has one, or a host still leaves it.
    """
    parts = {
        "MTAs": select(Host.id).where(Host.cluster_id == cluster.id),
        "domains": select(Domain.id).where(
            Domain.cluster_id == cluster.id, col(Domain.deleted_at).is_(None)
        ),
        "credentials": select(Credential.id).where(
            Credential.cluster_id == cluster.id, col(Credential.deleted_at).is_(None)
        ),
    }
    for name, rows in parts.items():
        if session.exec(rows).first() is not None:
            raise Conflict(f"the cluster {cluster.slug} still has {name}")
    # What was deleted waits for hosts to let go of it: there is none.
    dead = session.exec(select(Domain.id).where(Domain.cluster_id == cluster.id)).all()
    session.exec(delete(DkimKey).where(col(DkimKey.domain_id).in_(dead)))
    session.exec(delete(Condition).where(col(Condition.subject_id).in_(dead)))
    session.exec(delete(Domain).where(col(Domain.id).in_(dead)))
    session.exec(delete(Credential).where(col(Credential.cluster_id) == cluster.id))
    session.exec(delete(Cluster).where(col(Cluster.id) == cluster.id))


def _changed(session: Session, cluster: Cluster, host: Host) -> None:
    cluster.updated_at = utcnow()
    session.add_all([cluster, host])
    session.flush()
    wake_names(session, cluster.id)
    wake(session, [host.id])
