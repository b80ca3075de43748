"""Which removals were asked for: those that the database knows of."""

import pytest
from sqlmodel import select
from storekit import Store

from orchestrator.db import reading, writing
from orchestrator.models import Address, Cluster, Domain, Host, Mailbox, Workspace
from orchestrator.services import (
    cluster_domains,
    clusters,
    credentials,
    domains,
    mailboxes,
    removals,
)


@pytest.fixture
def host(store: Store) -> Host:
    """Two hosts; the workspace's mailboxes are all on the first."""
    host = store.host()
    store.pool(host, "198.51.100.21")
    acme = store.workspace()
    store.assign(acme)
    store.prove(store.domain(acme))
    store.mailboxes(acme, "a@acme.com", "b@acme.com", "c@acme.com")
    return host


def asked(store: Store, host: Host, *names: str) -> set[str]:
    with reading(store.engine) as session:
        return removals.asked_for(session, session.get_one(Host, host.id), names)


def test_what_is_still_wanted_was_not_asked_to_go(store: Store, host: Host) -> None:
    assert asked(store, host, "a@acme.com", "acme.com", host.hostname) == set()


def test_what_nobody_knows_was_not_asked_to_go(store: Store, host: Host) -> None:
    with writing(store.engine) as session:
        for row in session.exec(select(Mailbox)):
            session.delete(row)
    assert asked(store, host, "a@acme.com", "x@nowhere.com", "nowhere.com") == set()


def test_deleted_mailboxes_were(store: Store, host: Host) -> None:
    with writing(store.engine) as session:
        workspace = session.exec(select(Workspace)).one()
        row = session.exec(select(Mailbox).where(Mailbox.email == "a@acme.com")).one()
        mailboxes.delete(session, workspace, row.id)
    assert asked(store, host, "a@acme.com", "b@acme.com") == {"a@acme.com"}


def test_deleted_domains_were_with_their_mailboxes(store: Store, host: Host) -> None:
    with writing(store.engine) as session:
        workspace = session.exec(select(Workspace)).one()
        domains.delete(
            session,
            workspace,
            session.exec(select(Domain.id).where(Domain.name == "acme.com")).one(),
        )
    gone = {"a@acme.com", "acme.com"}
    assert asked(store, host, *gone, host.hostname) == gone


def test_what_lives_elsewhere_now_was(store: Store, host: Host) -> None:
    other = store.host("mx2", "198.51.100.12")
    with writing(store.engine) as session:
        session.exec(select(Address)).one().host_id = other.id
    gone = {"a@acme.com", "acme.com"}
    assert asked(store, host, *gone, host.hostname) == gone
    assert asked(store, other, *gone) == set()


EVERYTHING = credentials.Restrictions(allow_all_domains=True)


@pytest.fixture
def cluster(store: Store, host: Host) -> Cluster:
    """A cluster of the same workspace on the host: two domains, one of them a mailbox's as well."""
    with writing(store.engine) as session:
        owner = session.exec(select(Workspace)).one()
        row = clusters.create(session, store.settings, owner, region="lab-1")
        clusters.add_mta(session, row, session.get_one(Host, host.id))
        for name in ("acme.com", "news.com"):
            cluster_domains.add(session, store.vault, store.settings, row, name)
        for login in ("app", "shop"):
            credentials.create(session, row, login, EVERYTHING)
        return row


CLUSTERS = ("acme.com", "news.com", "app", "shop")


def test_what_a_cluster_has_was_not_asked_to_go(store: Store, host: Host, cluster: Cluster) -> None:
    assert asked(store, host, *CLUSTERS, "nobody") == set()


def test_what_was_deleted_from_a_cluster_was(store: Store, host: Host, cluster: Cluster) -> None:
    with writing(store.engine) as session:
        row = session.get_one(Cluster, cluster.id)
        credentials.delete(session, row, "App")
        for name in ("acme.com", "news.com"):
            cluster_domains.delete(session, row, name)
    # Mail is received for the other name.
    assert asked(store, host, *CLUSTERS) == {"news.com", "app"}
    with writing(store.engine) as session:
        row = session.get_one(Cluster, cluster.id)
        credentials.create(session, row, "app", EVERYTHING)
        cluster_domains.add(session, store.vault, store.settings, row, "news.com")
    assert asked(store, host, *CLUSTERS) == set()


def test_another_clusters_names_were_not(store: Store, host: Host, cluster: Cluster) -> None:
    with writing(store.engine) as session:
        owner = session.exec(select(Workspace)).one()
        other = clusters.create(session, store.settings, owner, region="lab-1")
        for name in ("acme.com", "news.com", "else.com"):
            cluster_domains.add(session, store.vault, store.settings, other, name)
        for login in ("app", "else"):
            credentials.create(session, other, login, EVERYTHING)
    assert asked(store, host, *CLUSTERS) == set()
    # It may have been one of its MTAs.
    assert asked(store, host, "else.com", "else") == {"else.com", "else"}


def test_a_host_that_leaves_has_no_logins(store: Store, host: Host, cluster: Cluster) -> None:
    with writing(store.engine) as session:
        clusters.leave(session, session.get_one(Host, host.id))
    assert asked(store, host, *CLUSTERS) == {"app", "shop"}
    with writing(store.engine) as session:
        clusters.let_go(session, session.get_one(Host, host.id))
    assert asked(store, host, *CLUSTERS) == {"app", "shop", "news.com"}
