"""Hosts that drain and addresses that move: who may, what hosts and DNS are told meanwhile."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta

import pytest
from sqlmodel import Session, select
from storekit import Store

from orchestrator import db, spec, transit
from orchestrator.conditions import Reason, Status, Type
from orchestrator.errors import Conflict, NotFound, Unavailable
from orchestrator.hostspec import HostSpec
from orchestrator.models import (
    Address,
    AddressState,
    Domain,
    Host,
    Mailbox,
    Move,
    MovePhase,
    Relocation,
    RelocationState,
    Workspace,
    utcnow,
)
from orchestrator.services import (
    addresses,
    conditions,
    domains,
    hosts,
    mailboxes,
    moves,
    relocations,
)

ANNE, BEN = "anne@acme.com", "ben@acme.com"


@dataclass
class Fleet:
    """A tenant with two mailboxes on the one address that it has, on mx1; mx2 has free ones."""

    store: Store
    mx1: Host
    mx2: Host
    old: Address
    free: list[Address]
    acme: Workspace
    domain: Domain

    def spec(self, session: Session, host: Host) -> HostSpec:
        row = session.get_one(Host, host.id)
        own = spec.carried(session, row)
        return spec.build(session, self.store.vault, row, own, message_size_limit=1)

    def served(self, session: Session, host: Host) -> dict[str, str]:
        """How the host treats each mailbox of the tenant."""
        made = self.spec(session, host)
        local = {m.email: f"held {m.egress_ip}" if m.held else m.egress_ip for m in made.mailboxes}
        remote = {m.email: f"{m.hostname} {m.former_ip}" for m in made.remote_mailboxes}
        return local | remote

    def records(self, session: Session, purpose: str) -> list[str]:
        domain = session.get_one(Domain, self.domain.id)
        expected = domains.expected_records(session, self.store.settings, domain)
        return [record.value for record in expected if record.purpose == purpose]


@pytest.fixture
def fleet(store: Store) -> Fleet:
    mx1, mx2 = store.host(), store.host("mx2", "198.51.100.12")
    (old,) = store.pool(mx1, "198.51.100.21")
    acme = store.workspace()
    store.assign(acme)
    domain = store.domain(acme)
    store.prove(domain)
    store.mailboxes(acme, ANNE, BEN)
    free = store.pool(mx2, "198.51.100.31", "198.51.100.32", "2001:db8:51::31")
    store.ready(mx1, mx2)
    return Fleet(store, mx1, mx2, old, free, acme, domain)


@pytest.fixture
def session(fleet: Fleet) -> Iterator[Session]:
    with db.writing(fleet.store.engine) as session:
        yield session


def begin(fleet: Fleet, session: Session) -> Move:
    return moves.start(session, session.get_one(Address, fleet.old.id))


def reach(session: Session, move: Move, phase: MovePhase) -> None:
    relocations.gather(session, move)
    relocations.enter(session, move, phase)


def rows(session: Session, move: Move) -> list[Relocation]:
    return [row for row, _ in relocations.living(session, move)]


def test_a_paused_host_says_why_and_resumes(fleet: Fleet, session: Session) -> None:
    host = session.get_one(Host, fleet.mx1.id)
    hosts.pause(session, host, "kernel update")
    seen = conditions.get_all(session, [host.id])[host.id, Type.CONVERGED]
    assert (host.paused, host.pause_reason) == (True, "kernel update")
    assert (seen.status, seen.reason, seen.message) == (
        Status.UNKNOWN,
        Reason.PAUSED,
        "kernel update",
    )
    hosts.drain(session, host)
    hosts.resume(session, host)
    assert (host.paused, host.pause_reason, host.draining) == (False, "", False)


def test_a_draining_host_gets_nothing_new_and_serves_what_it_has(
    fleet: Fleet, session: Session
) -> None:
    acme = session.get_one(Workspace, fleet.acme.id)
    (other,) = addresses.assign(session, acme)
    assert fleet.records(session, "mx") == ["10 mx1.fleetlab.net", "10 mx2.fleetlab.net"]
    hosts.drain(session, session.get_one(Host, fleet.mx2.id))
    session.flush()
    assert fleet.records(session, "mx") == ["10 mx1.fleetlab.net"]
    with pytest.raises(Unavailable):
        addresses.assign(session, acme)
    # mx1 has two mailboxes, mx2 none: without draining these two would go there.
    mailboxes.create(
        session, fleet.store.vault, fleet.store.settings, acme, ["c@acme.com", "d@acme.com"]
    )
    placed = {p.mailbox.email: p.host.name for p in mailboxes.list_(session, acme)}
    assert set(placed.values()) == {"mx1"}
    assert fleet.spec(session, fleet.mx2).domains == ("acme.com",)
    hosts.drain(session, session.get_one(Host, fleet.mx1.id))
    session.flush()
    # Somebody must be named.
    assert fleet.records(session, "mx") == ["10 mx1.fleetlab.net", "10 mx2.fleetlab.net"]
    assert other.state is AddressState.ASSIGNED


def test_a_move_names_both_hosts_before_anything_moves(fleet: Fleet, session: Session) -> None:
    move = begin(fleet, session)
    target = session.get_one(Address, move.target_id)
    assert (target.host_id, target.state) == (fleet.mx2.id, AddressState.ASSIGNED)
    assert fleet.records(session, "mx") == ["10 mx1.fleetlab.net", "10 mx2.fleetlab.net"]
    assert fleet.records(session, "spf") == ["v=spf1 ip4:198.51.100.21 ip4:198.51.100.31 -all"]
    assert fleet.served(session, fleet.mx1) == {ANNE: "198.51.100.21", BEN: "198.51.100.21"}
    assert fleet.served(session, fleet.mx2) == dict.fromkeys([ANNE, BEN], "mx1.fleetlab.net None")


def test_a_mailbox_goes_over_by_way_of_being_held(fleet: Fleet, session: Session) -> None:
    move = begin(fleet, session)
    reach(session, move, MovePhase.SWITCHING)
    first = rows(session, move)[0]
    relocations.hold(session, move, [first])
    session.flush()
    assert fleet.served(session, fleet.mx1)[ANNE] == "held 198.51.100.21"
    assert fleet.served(session, fleet.mx2)[ANNE] == "held 198.51.100.31"
    assert fleet.served(session, fleet.mx1)[BEN] == "198.51.100.21"
    relocations.switch(session, move, {first.mailbox_id: ("digest", 7)})
    session.flush()
    # What is queued on the old host still leaves from there.
    assert fleet.served(session, fleet.mx1)[ANNE] == "mx2.fleetlab.net 198.51.100.21"
    assert fleet.served(session, fleet.mx2)[ANNE] == "198.51.100.31"
    assert fleet.served(session, fleet.mx2)[BEN] == "mx1.fleetlab.net None"
    placed = {p.mailbox.email: p.host.name for p in mailboxes.list_(session, fleet.acme)}
    assert placed == {ANNE: "mx2", BEN: "mx1"}
    assert (first.messages, first.listing, move.settling_since) == (7, "digest", None)


def test_a_failure_while_mailboxes_are_held_gives_them_back(fleet: Fleet, session: Session) -> None:
    move = begin(fleet, session)
    reach(session, move, MovePhase.SWITCHING)
    relocations.hold(session, move, rows(session, move))
    relocations.fail(session, move, Reason.DISK_FULL, "no space on mx2", 30)
    session.flush()
    assert fleet.served(session, fleet.mx1) == {ANNE: "198.51.100.21", BEN: "198.51.100.21"}
    assert {row.state for row in rows(session, move)} == {RelocationState.WAITING}
    (shown,) = moves.list_(session)
    assert (shown.phase, shown.reason, shown.message) == (
        MovePhase.SWITCHING,
        Reason.DISK_FULL,
        "no space on mx2",
    )
    assert move.due_at > utcnow() + timedelta(seconds=25)


def test_the_old_host_leaves_dns_first_and_then_service(fleet: Fleet, session: Session) -> None:
    move = begin(fleet, session)
    reach(session, move, MovePhase.SWITCHING)
    relocations.hold(session, move, rows(session, move))
    relocations.switch(session, move, {row.mailbox_id: ("d", 1) for row in rows(session, move)})
    relocations.enter(session, move, MovePhase.OVERLAPPING)
    session.flush()
    assert fleet.records(session, "mx") == ["10 mx2.fleetlab.net"]
    assert fleet.records(session, "spf") == ["v=spf1 ip4:198.51.100.21 ip4:198.51.100.31 -all"]
    assert fleet.spec(session, fleet.mx1).domains == ("acme.com",)
    relocations.finish(session, move)
    session.flush()
    assert fleet.records(session, "spf") == ["v=spf1 ip4:198.51.100.31 -all"]
    old = session.get_one(Address, fleet.old.id)
    assert (old.state, old.workspace_id) == (AddressState.COOLDOWN, None)
    assert fleet.spec(session, fleet.mx1).domains == ()
    assert fleet.served(session, fleet.mx2) == {ANNE: "198.51.100.31", BEN: "198.51.100.31"}
    assert moves.list_(session) == []
    assert [row.moved for row in moves.list_(session, ended=True)] == [2]


def test_waiting_is_for_passes_and_looks_after_the_change(fleet: Fleet) -> None:
    store = fleet.store
    with db.writing(store.engine) as session:
        key = begin(fleet, session).id
    with db.writing(store.engine) as session:
        move = session.get_one(Move, key)
        assert relocations.unsettled(session, move) == "waiting for mx1 to converge"
        relocations.settle(session, move)
        assert relocations.unseen(session, move) == "waiting for MxOk of acme.com"
    store.converge(fleet.mx1)
    with db.writing(store.engine) as session:
        assert relocations.unsettled(session, session.get_one(Move, key)).endswith(
            "mx2 to converge"
        )
    store.converge(fleet.mx2)
    store.observe(fleet.domain, Type.MX_OK, Type.SPF_OK)
    with db.writing(store.engine) as session:
        move = session.get_one(Move, key)
        assert relocations.unsettled(session, move) == ""
        assert relocations.unseen(session, move) == ""
        assert relocations.unproven(session, store.settings, move).startswith(
            "waiting for PtrConfirmed of 198.51.100.3"
        )
        conditions.set_(session, move.target_id, Type.PTR_CONFIRMED, Status.TRUE, Reason.OBSERVED)
        assert relocations.unproven(session, store.settings, move) == ""
        # The next change makes all of it old.
        relocations.enter(session, move, MovePhase.OVERLAPPING)
        relocations.settle(session, move)
        assert relocations.named(session, store.settings, move) == "waiting for MxOk of acme.com"
    store.observe(fleet.domain, Type.MX_OK, Type.SPF_OK)
    with db.writing(store.engine) as session:
        move = session.get_one(Move, key)
        assert "3600 s more" in relocations.named(session, store.settings, move)
        move.unnamed_since = utcnow() - timedelta(hours=1)
        assert relocations.named(session, store.settings, move) == ""


def test_dns_that_nobody_keeps_can_be_ignored(fleet: Fleet, session: Session) -> None:
    old = session.get_one(Address, fleet.old.id)
    move = moves.start(session, old, ignore_dns=True)
    relocations.settle(session, move)
    assert relocations.unseen(session, move) == ""


def test_only_one_mover_has_a_move(fleet: Fleet) -> None:
    engine = fleet.store.engine
    with db.writing(engine) as session:
        key = begin(fleet, session).id
    now = utcnow() + timedelta(seconds=1)
    with db.writing(engine) as session:
        first = relocations.claim(session, key, now, 30)
        assert first is not None
        assert relocations.claim(session, key, now, 30) is None
    with db.writing(engine) as session:
        # The first one was stopped for longer than its claim, and then goes on.
        assert relocations.claim(session, key, now + timedelta(seconds=31), 30) is not None
    with (
        db.writing(engine) as session,
        pytest.raises(Conflict, match="no longer ours"),
    ):
        relocations.owned(session, key, first, MovePhase.PREPARING)


def test_a_move_is_cancelled_until_mailboxes_go_over(fleet: Fleet, session: Session) -> None:
    old = session.get_one(Address, fleet.old.id)
    with pytest.raises(NotFound):
        moves.cancel(session, old)
    move = begin(fleet, session)
    # A mover has it, and would not look again for the time of its claim.
    assert relocations.claim(session, move.id, utcnow(), 30) is not None
    assert moves.cancel(session, old).phase is MovePhase.CANCELLING
    assert relocations.claim(session, move.id, utcnow(), 30) is not None
    relocations.call_off(session, move)
    assert move.phase is MovePhase.CANCELLED
    session.flush()
    assert relocations.claim(session, move.id, utcnow(), 30) is None
    assert session.get_one(Address, move.target_id).state is AddressState.COOLDOWN
    again = moves.start(session, old, to=session.get_one(Address, fleet.free[1].id))
    reach(session, again, MovePhase.SWITCHING)
    with pytest.raises(Conflict, match="go over already"):
        moves.cancel(session, old)


def test_what_moves_is_left_alone_by_everybody_else(fleet: Fleet, session: Session) -> None:
    acme = session.get_one(Workspace, fleet.acme.id)
    move = begin(fleet, session)
    old = session.get_one(Address, fleet.old.id)
    target = session.get_one(Address, move.target_id)
    for address in (old, target):
        with pytest.raises(Conflict, match="is moving"):
            addresses.release(session, acme, address.id)
        with pytest.raises(Conflict, match="already"):
            moves.start(session, address)
    mailboxes.create(session, fleet.store.vault, fleet.store.settings, acme, ["new@acme.com"])
    placed = {p.mailbox.email: p.host.name for p in mailboxes.list_(session, acme)}
    assert placed["new@acme.com"] == "mx2"
    gone = session.exec(select(Mailbox).where(Mailbox.email == ANNE)).one()
    relocations.gather(session, move)
    mailboxes.delete(session, acme, gone.id)
    assert [mailbox.email for _, mailbox in relocations.living(session, move)] == [BEN]


def test_an_address_that_does_not_fit_is_refused(fleet: Fleet, session: Session) -> None:
    old = session.get_one(Address, fleet.old.id)
    free = [session.get_one(Address, row.id) for row in fleet.free]
    other = addresses.add(
        session, host=session.get_one(Host, fleet.mx1.id), ip="198.51.100.22", ptr_name="o.x.net"
    )
    other.state = AddressState.FREE
    with pytest.raises(Conflict, match="same host"):
        moves.start(session, old, to=other)
    with pytest.raises(Conflict, match="IP versions"):
        moves.start(session, old, to=free[2])
    with pytest.raises(Conflict, match="not assigned"):
        moves.start(session, free[0])
    free[0].state = AddressState.COOLDOWN
    with pytest.raises(Conflict, match="neither free"):
        moves.start(session, old, to=free[0])
    with pytest.raises(Unavailable):
        moves.start(session, old, to_host=session.get_one(Host, fleet.mx1.id))


def test_an_evacuation_is_planned_whole_or_not_at_all(fleet: Fleet) -> None:
    store = fleet.store
    store.pool(fleet.mx1, "198.51.100.22", "198.51.100.23")
    with db.writing(store.engine) as session:
        mx1 = session.get_one(Host, fleet.mx1.id)
        addresses.assign(session, fleet.acme, count=2, host=mx1)
    with db.writing(store.engine) as session, pytest.raises(Conflict, match="to itself"):
        mx1 = session.get_one(Host, fleet.mx1.id)
        moves.evacuate(session, mx1, to_host=mx1)
    with pytest.raises(Unavailable), db.writing(store.engine) as session:
        moves.evacuate(session, session.get_one(Host, fleet.mx1.id))
    with db.writing(store.engine) as session:
        assert moves.list_(session) == []
        assert not session.get_one(Host, fleet.mx1.id).draining
    store.pool(fleet.mx2, "198.51.100.33")
    with db.writing(store.engine) as session:
        mx1 = session.get_one(Host, fleet.mx1.id)
        begun = moves.evacuate(session, mx1)
        assert (len(begun), mx1.draining) == (3, True)
        assert moves.evacuate(session, mx1) == []
        assert len({move.target_id for move in begun}) == 3
        assert transit.sources(session) == {move.source_id for move in begun}
