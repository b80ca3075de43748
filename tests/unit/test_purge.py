"""Deleted rows go once every host has applied their absence, not before."""

from datetime import timedelta

import pytest
from sqlalchemy import Engine
from sqlmodel import select

from orchestrator.db import writing
from orchestrator.models import Cluster, Credential, Domain, Host, Workspace, utcnow
from orchestrator.services import purge

NOW = utcnow()


@pytest.fixture(autouse=True)
def domain(engine: Engine) -> None:
    with writing(engine) as session:
        owner = Workspace(slug="acme", name="Acme", verification_token="t")
        session.add(owner)
        session.flush()
        session.add(Domain(name="acme.com", workspace_id=owner.id, deleted_at=NOW))


def add_host(engine: Engine, name: str, applied: float | None) -> None:
    at = None if applied is None else NOW + timedelta(seconds=applied)
    with writing(engine) as session:
        session.add(
            Host(name=name, hostname=name, address="127.0.0.1", host_key="x y", applied_at=at)
        )


@pytest.mark.parametrize(
    ("applied", "left"),
    [([1.0], 0), ([1.0, 2.0], 0), ([-1.0], 1), ([1.0, -1.0], 1), ([1.0, None], 1), ([], 1)],
)
def test_it_waits_for_every_host(engine: Engine, applied: list[float | None], left: int) -> None:
    for number, seconds in enumerate(applied):
        add_host(engine, f"mx{number}", seconds)
    with writing(engine) as session:
        assert purge.deleted(session) == 1 - left
        assert len(session.exec(select(Domain)).all()) == left


def test_what_is_not_deleted_stays(engine: Engine) -> None:
    add_host(engine, "mx", 1.0)
    with writing(engine) as session:
        session.exec(select(Domain)).one().deleted_at = None
    with writing(engine) as session:
        assert purge.deleted(session) == 0


@pytest.fixture
def cluster(engine: Engine) -> Cluster:
    with writing(engine) as session:
        owner = session.exec(select(Workspace)).one()
        row = Cluster(workspace_id=owner.id, slug="k7wq3xzp", hostname="c.net", region="lab-1")
        session.add(row)
        session.flush()
        for login, deleted in (("gone", NOW), ("stays", None)):
            session.add(
                Credential(
                    cluster_id=row.id,
                    username=login,
                    login=login,
                    password_hash="x",
                    allow_all_domains=True,
                    allow_all_ips=True,
                    deleted_at=deleted,
                )
            )
        return row


@pytest.mark.parametrize(("applied", "left"), [(1.0, {"stays"}), (-1.0, {"gone", "stays"})])
def test_a_deleted_credential_goes(
    engine: Engine, cluster: Cluster, applied: float, left: set[str]
) -> None:
    add_host(engine, "mx", applied)
    with writing(engine) as session:
        purge.deleted(session)
        assert set(session.exec(select(Credential.login))) == left


@pytest.mark.parametrize(("days", "left"), [(0.0, True), (4.9, True), (5.1, False)])
def test_a_clusters_domain_stays_while_its_mail_may_be_queued(
    engine: Engine, cluster: Cluster, days: float, left: bool
) -> None:
    add_host(engine, "mx", 1.0)
    with writing(engine) as session:
        session.add(
            Domain(
                name="queued.com",
                workspace_id=cluster.workspace_id,
                cluster_id=cluster.id,
                deleted_at=NOW - timedelta(days=days),
            )
        )
    with writing(engine) as session:
        purge.deleted(session)
        names = session.exec(select(Domain.name)).all()
    # A mailbox's domain doesn't wait.
    assert names == (["queued.com"] if left else [])
