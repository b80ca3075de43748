"""Clusters and their MTAs: the rules."""

import pytest
from sqlmodel import Session, select
from worldkit import World

from orchestrator import db
from orchestrator.conditions import Status, Type
from orchestrator.errors import Conflict, Invalid, NotFound, Unavailable
from orchestrator.models import (
    Cluster,
    Domain,
    Host,
    utcnow,
)
from orchestrator.services import (
    clusters,
    credentials,
    hosts,
)


def test_a_cluster_has_a_name_below_the_fleets(world: World) -> None:
    assert world.cluster.hostname == f"c-{world.cluster.slug}.fleetlab.net"
    other = world.store.workspace("other")
    with db.writing(world.store.engine) as session:
        assert clusters.get(session, world.acme, world.cluster.slug).id == world.cluster.id
        for owner, slug in ((other, world.cluster.slug), (world.acme, "nothing")):
            with pytest.raises(NotFound):
                clusters.get(session, owner, slug)
        with pytest.raises(Invalid):
            clusters.create(session, world.store.settings, world.acme, region="Lab 1")
        assert clusters.list_(session, other) == []


def test_an_mta_takes_the_addresses_that_its_tenant_lacks(world: World) -> None:
    world.sleep()
    assert [address.host_id for address in world.join(world.mx1, 2)] == [world.mx1.id] * 2
    assert world.woken() == {"mx1"}
    with pytest.raises(Conflict, match="already"):
        world.join(world.mx1)
    with pytest.raises(Unavailable):
        world.join(world.mx2, 3)
    # All or none of it.
    assert world.host(world.mx2).cluster_id is None
    assert len(world.join(world.mx2, 1)) == 1
    world.leave(world.mx2)
    with db.writing(world.store.engine) as session:
        clusters.let_go(session, session.get_one(Host, world.mx2.id))
    # It has one already.
    assert len(world.join(world.mx2, 2)) == 1


def test_a_cluster_is_active_once_an_mta_was_told_of_it(world: World) -> None:
    world.converge(world.mx1)
    world.join(world.mx1)
    assert world.status() == "provisioning"
    with db.writing(world.store.engine) as session:
        session.get_one(Host, world.mx1.id).applied_at = utcnow()
    world.store.observe(world.mx1, Type.CONVERGED, status=Status.FALSE)
    assert world.status() == "provisioning"
    world.converge(world.mx1)
    assert world.status() == "active"
    # What could not be looked at is no worse.
    world.store.observe(world.mx1, Type.CONVERGED, status=Status.UNKNOWN)
    assert world.status() == "active"
    world.leave(world.mx1)
    assert world.status() == "provisioning"


def test_a_changed_rate_is_told_to_all_mtas(world: World) -> None:
    world.join(world.mx1)
    world.sleep()
    with db.writing(world.store.engine) as session:
        cluster = session.get_one(Cluster, world.cluster.id)
        clusters.set_rate(session, cluster, "1,000/day")
        assert cluster.max_message_rate == "1,000/day"
        with pytest.raises(Invalid):
            clusters.set_rate(session, cluster, "quick")
        clusters.set_rate(session, cluster, None)
        assert cluster.max_message_rate is None
    assert world.woken() == {"mx1"}


def test_a_host_is_seen_to_leave_once_it_was_told(world: World) -> None:
    world.join(world.mx1)
    world.converge(world.mx1)

    def leaving(session: Session) -> list[str]:
        return [host.name for host in clusters.leaving(session)]

    with db.writing(world.store.engine) as session:
        assert leaving(session) == []
        with pytest.raises(Conflict, match="no MTA"):
            clusters.leave(session, session.get_one(Host, world.mx2.id))
    world.leave(world.mx1)
    since = world.host(world.mx1).leaving_since
    world.leave(world.mx1)
    assert world.host(world.mx1).leaving_since == since
    with db.reading(world.store.engine) as session:
        assert leaving(session) == []
        cluster = session.get_one(Cluster, world.cluster.id)
        assert clusters.hosts(session, cluster) == []
        assert [host.name for host in clusters.members(session, cluster)] == ["mx1"]
    world.converge(world.mx1)
    with db.reading(world.store.engine) as session:
        assert leaving(session) == ["mx1"]
    with pytest.raises(Conflict, match="remove-mta"), db.writing(world.store.engine) as session:
        hosts.remove(session, session.get_one(Host, world.mx1.id))


def test_what_is_still_used_is_not_removed(world: World) -> None:
    def remove() -> None:
        with db.writing(world.store.engine) as session:
            clusters.remove(session, session.get_one(Cluster, world.cluster.id))

    world.join(world.mx1)
    with pytest.raises(Conflict, match="MTAs"):
        remove()
    world.leave(world.mx1)
    with pytest.raises(Conflict, match="MTAs"):
        remove()
    with db.writing(world.store.engine) as session:
        clusters.let_go(session, session.get_one(Host, world.mx1.id))
    world.domain("acme.com")
    with pytest.raises(Conflict, match="domains"):
        remove()
    with db.writing(world.store.engine) as session:
        cluster = session.get_one(Cluster, world.cluster.id)
        everything = credentials.Restrictions(allow_all_domains=True)
        credentials.create(session, cluster, "app", everything)
        for row in session.exec(select(Domain).where(Domain.cluster_id == cluster.id)):
            row.cluster_id = None
    with pytest.raises(Conflict, match="credentials"):
        remove()
