"""What a host is told of mailboxes that are suspended, have aliases, or are deleted for good."""

from dataclasses import dataclass, replace

import pytest
from sqlmodel import Session, col, select
from storekit import Store

from orchestrator import db, secrets, spec
from orchestrator.errors import Invalid
from orchestrator.hostspec import HostSpec
from orchestrator.models import (
    Address,
    Alias,
    Domain,
    Host,
    Mailbox,
    MovePhase,
    Workspace,
)
from orchestrator.rendering import render
from orchestrator.services import aliases, domains, logins, mailboxes, moves, purge, relocations

ANNE, BEN = "anne@acme.com", "ben@acme.com"


@dataclass
class Fleet:
    """A tenant with an address on each of two hosts; Anne lives on mx1, Ben on mx2."""

    store: Store
    mx1: Host
    mx2: Host
    acme: Workspace
    domain: Domain
    boxes: dict[str, Mailbox]

    def purges(self, host: Host) -> tuple[str, ...]:
        return tuple(store.email for store in self.spec(host).purges)

    def spec(self, host: Host) -> HostSpec:
        with db.reading(self.store.engine) as session:
            row = session.get_one(Host, host.id)
            own = spec.carried(session, row)
            return spec.build(session, self.store.vault, row, own, message_size_limit=1)

    def delete(self, email: str) -> None:
        with db.writing(self.store.engine) as session:
            mailboxes.delete(session, self.acme, self.boxes[email].id, purge=True)

    def applied(self, *hosts: Host) -> None:
        for host in hosts:
            self.store.converge(host)
        with db.writing(self.store.engine) as session:
            purge.deleted(session)


@pytest.fixture
def fleet(store: Store) -> Fleet:
    mx1, mx2 = store.host(), store.host("mx2", "198.51.100.12")
    store.pool(mx1, "198.51.100.21")
    store.pool(mx2, "198.51.100.31")
    acme = store.workspace()
    store.assign(acme, 2)
    domain = store.domain(acme)
    store.prove(domain)
    placed = store.mailboxes(acme, ANNE, BEN)
    store.ready(mx1, mx2)
    with db.writing(store.engine) as session:
        for row in placed:
            on = {ANNE: mx1, BEN: mx2}[row.mailbox.email]
            address = session.exec(select(Address).where(Address.host_id == on.id)).one()
            session.get_one(Mailbox, row.mailbox.id).address_id = address.id
    boxes = {row.mailbox.email: row.mailbox for row in placed}
    return Fleet(store, mx1, mx2, acme, domain, boxes)


def test_who_is_suspended_has_a_hash_that_no_password_has(fleet: Fleet) -> None:
    (before,) = fleet.spec(fleet.mx1).mailboxes
    with db.writing(fleet.store.engine) as session:
        logins.suspend(session, fleet.acme, fleet.boxes[ANNE].id)
    (during,) = fleet.spec(fleet.mx1).mailboxes
    assert during == replace(before, password_hash=secrets.LOCKED)
    with db.writing(fleet.store.engine) as session:
        logins.resume(session, fleet.acme, fleet.boxes[ANNE].id)
    assert fleet.spec(fleet.mx1).mailboxes == (before,)


def test_every_host_knows_an_alias(fleet: Fleet) -> None:
    with db.writing(fleet.store.engine) as session:
        for email in ("sales@acme.com", "info@acme.com"):
            aliases.add(session, fleet.acme, fleet.boxes[ANNE].id, email)
    known = ("info@acme.com", "sales@acme.com")
    assert [m.aliases for m in fleet.spec(fleet.mx1).mailboxes] == [known]
    assert [m.aliases for m in fleet.spec(fleet.mx2).mailboxes] == [()]
    assert [m.aliases for m in fleet.spec(fleet.mx2).remote_mailboxes] == [known]


def test_an_alias_of_a_domain_that_is_not_proven_is_nobodys(fleet: Fleet) -> None:
    fleet.store.domain(fleet.acme, "acme.org")
    with db.writing(fleet.store.engine) as session:
        aliases.add(session, fleet.acme, fleet.boxes[ANNE].id, "anne@acme.org")
    assert [m.aliases for m in fleet.spec(fleet.mx1).mailboxes] == [()]


def test_a_purge_is_told_to_its_host_until_every_host_has_it(fleet: Fleet) -> None:
    fleet.delete(ANNE)
    assert (fleet.purges(fleet.mx1), fleet.purges(fleet.mx2)) == ((ANNE,), ())
    fleet.applied(fleet.mx1)
    assert fleet.purges(fleet.mx1) == (ANNE,)
    fleet.applied(fleet.mx1, fleet.mx2)
    assert fleet.purges(fleet.mx1) == ()


def test_a_domain_purges_its_mailboxes_everywhere(fleet: Fleet) -> None:
    with db.writing(fleet.store.engine) as session:
        assert domains.delete(session, fleet.acme, fleet.domain.id, purge=True) == 2
    assert (fleet.purges(fleet.mx1), fleet.purges(fleet.mx2)) == ((ANNE,), (BEN,))


def test_a_mailbox_that_moves_is_purged_on_both_hosts(fleet: Fleet) -> None:
    with db.writing(fleet.store.engine) as session:
        source = session.get_one(Address, session.get_one(Mailbox, fleet.boxes[ANNE].id).address_id)
        on_mx2 = col(Address.host_id) == fleet.mx2.id
        move = moves.start(session, source, to=session.exec(select(Address).where(on_mx2)).one())
        relocations.gather(session, move)
    fleet.delete(ANNE)
    assert (fleet.purges(fleet.mx1), fleet.purges(fleet.mx2)) == ((ANNE,), (ANNE,))
    # A copy may be under way: it is not forgotten before the move is over.
    fleet.applied(fleet.mx1, fleet.mx2)
    assert fleet.purges(fleet.mx2) == (ANNE,)
    with db.writing(fleet.store.engine) as session:
        relocations.enter(session, session.merge(move), MovePhase.DONE)
    fleet.applied(fleet.mx1, fleet.mx2)
    assert fleet.purges(fleet.mx2) == ()


def test_a_mailbox_that_lives_is_never_purged(fleet: Fleet) -> None:
    made = fleet.spec(fleet.mx1)
    with pytest.raises(Invalid, match="is to be removed"):
        render(replace(made, purges=(made.mailboxes[0].store,)))
    with pytest.raises(Invalid, match="exists twice"):
        render(replace(made, mailboxes=(replace(made.mailboxes[0], aliases=(ANNE,)),)))


@pytest.mark.parametrize("purge", [True, False])
def test_who_comes_to_have_an_address_finds_no_mail_of_its_former_owner(
    fleet: Fleet, purge: bool
) -> None:
    before = fleet.spec(fleet.mx1).mailboxes[0].store
    store, other = fleet.store, fleet.store.workspace("other")
    with db.writing(store.engine) as session:
        domains.delete(session, fleet.acme, fleet.domain.id, purge=purge)
    store.pool(fleet.mx1, "198.51.100.99")
    store.assign(other)
    store.prove(store.domain(other))
    store.mailboxes(other, ANNE)
    made = fleet.spec(fleet.mx1)
    (mailbox,) = made.mailboxes
    assert mailbox.email == before.email == ANNE
    assert mailbox.store.home != before.home
    assert made.purges == ((before,) if purge else ())
    assert any(mailbox.store.home in file.content for file in render(made))


def test_a_mover_waits_for_what_was_sent_with_aliases(fleet: Fleet) -> None:
    with db.writing(fleet.store.engine) as session:
        aliases.add(session, fleet.acme, fleet.boxes[ANNE].id, "sales@acme.com")
        assert senders(session, fleet) == {ANNE, "sales@acme.com"}
        assert session.exec(select(Alias.email)).all() == ["sales@acme.com"]


def senders(session: Session, fleet: Fleet) -> set[str]:
    source = session.get_one(Address, session.get_one(Mailbox, fleet.boxes[ANNE].id).address_id)
    on_mx2 = col(Address.host_id) == fleet.mx2.id
    move = moves.start(session, source, to=session.exec(select(Address).where(on_mx2)).one())
    relocations.gather(session, move)
    return set(relocations.senders(session, move))
