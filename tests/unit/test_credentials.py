"""SMTP credentials: what of them nobody sees over HTTP."""

from datetime import timedelta

import pytest
from sqlmodel import select
from storekit import Store

from orchestrator import db
from orchestrator.models import Cluster, Credential, Host, utcnow
from orchestrator.services import cluster_domains, clusters, credentials
from orchestrator.services.credentials import Restrictions

LATER = utcnow() + timedelta(days=1)


@pytest.fixture
def cluster(store: Store) -> Cluster:
    """A cluster with an MTA and two domains; nothing is due."""
    acme, mx1 = store.workspace(), store.host()
    store.host("mx2", "198.51.100.12")
    store.pool(mx1, "198.51.100.21")
    with db.writing(store.engine) as session:
        row = clusters.create(session, store.settings, acme, region="lab-1")
        clusters.add_mta(session, row, session.get_one(Host, mx1.id))
        for name in ("acme.com", "shop.com"):
            cluster_domains.add(session, store.vault, store.settings, row, name)
        for host in session.exec(select(Host)):
            host.due_at = LATER
        return row


def _woken(store: Store) -> set[str]:
    """The hosts that are due; none is from now on."""
    with db.writing(store.engine) as session:
        due = {host.name for host in session.exec(select(Host)) if host.due_at < LATER}
        for host in session.exec(select(Host)):
            host.due_at = LATER
    return due


def test_only_a_hash_of_the_password_is_kept(store: Store, cluster: Cluster) -> None:
    with db.writing(store.engine) as session:
        _, password = credentials.create(
            session, cluster, "App@Shop", Restrictions(allow_all_domains=True)
        )
    with db.reading(store.engine) as session:
        row = session.exec(select(Credential)).one()
    assert (row.username, row.login) == ("App@Shop", "app@shop")
    assert row.password_hash.startswith("{SHA512-CRYPT}$6$") and password not in row.password_hash
    assert password not in repr(row)


def test_every_change_is_told_to_the_mtas(store: Store, cluster: Cluster) -> None:
    with db.writing(store.engine) as session:
        credentials.create(session, cluster, "app", Restrictions(allow_all_domains=True))
    assert _woken(store) == {"mx1"}
    with db.writing(store.engine) as session:
        credentials.update(session, cluster, "app", Restrictions(domains=["acme.com"]))
    assert _woken(store) == {"mx1"}
    with db.writing(store.engine) as session:
        credentials.delete(session, cluster, "app")
    assert _woken(store) == {"mx1"}
    # The row stays until all hosts were told.
    with db.reading(store.engine) as session:
        assert session.exec(select(Credential)).one().deleted_at is not None


def test_a_domain_that_comes_back_is_nobodys(store: Store, cluster: Cluster) -> None:
    both = Restrictions(domains=["acme.com", "shop.com"])
    with db.writing(store.engine) as session:
        row, _ = credentials.create(session, cluster, "app", both)
        gone, _ = credentials.create(session, cluster, "gone", both)
        credentials.delete(session, cluster, "gone")
    _woken(store)
    with db.writing(store.engine) as session:
        cluster_domains.delete(session, cluster, "acme.com")
    assert _woken(store) == {"mx1"}
    with db.writing(store.engine) as session:
        cluster_domains.add(session, store.vault, store.settings, cluster, "acme.com")
        assert session.get_one(Credential, row.id).domains == ["shop.com"]
        # What it was when it was deleted.
        assert session.get_one(Credential, gone.id).domains == ["acme.com", "shop.com"]
