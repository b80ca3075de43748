"""Which removals were asked for: those that the database knows of."""

import pytest
from sqlmodel import select
from storekit import Store

from orchestrator.db import reading, writing
from orchestrator.models import Address, Domain, Host, Mailbox, Workspace
from orchestrator.services import domains, mailboxes, removals


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
        return removals.asked_for(session, host, names)


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
