"""A restored database does nothing by itself until somebody has looked and says so."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import knotkit
import msgspec
import pytest
from backupkit import ALICE, fill, schedule
from sqlmodel import Session, col, select
from storekit import Store

from orchestrator import db, duties, spec
from orchestrator.conditions import Reason, Status, Type
from orchestrator.control import ControlPlane
from orchestrator.dns.records import ExpectedRecord, Purpose
from orchestrator.errors import Conflict, NotFound
from orchestrator.issuers import authority
from orchestrator.models import (
    Address,
    AddressState,
    Issuance,
    Mailbox,
    Move,
    MovePhase,
    ScheduledMessage,
    ScheduledState,
    Workspace,
    Zone,
    utcnow,
)
from orchestrator.services import (
    conditions,
    domains,
    hosts,
    mailboxes,
    moves,
    relocations,
    restored,
    scheduled,
)
from orchestrator.services.restored import Held
from orchestrator.work.publication import Publication

MADE = datetime(2026, 5, 1, 2, 0, tzinfo=UTC)
REASON = "restored from the backup of 2026-05-01 02:00:00 UTC"
#: How Knot comes to serve the tenant's zone.
KNOT = (
    "conf-begin",
    "conf-set zone[acme.com]",
    "conf-set zone[acme.com].template managed",
    "conf-commit",
    "zone-begin acme.com",
    "zone-set acme.com @ 300 SOA ns1.acme.com. root.acme.com. 1 3600 600 86400 300",
    "zone-set acme.com @ 300 NS ns1.acme.com.",
    "zone-commit acme.com",
)
#: What reaches others than the hosts.
OUTWARD = {"withdrawal", "registration", "certificate", "account", "scheduled message"}


@pytest.fixture
def acme(store: Store) -> Workspace:
    return fill(store)


@pytest.fixture
def session(store: Store) -> Iterator[Session]:
    with db.writing(store.engine) as session:
        yield session


@pytest.fixture
def control(store: Store, acme: Workspace) -> Iterator[ControlPlane]:
    settings = msgspec.structs.replace(
        store.settings, ca_key_file=store.settings.ca_file.with_name("ca.key"), resolvers=("::1",)
    )
    settings.ca_key_file.write_text(authority.new_key())
    settings.ca_file.write_text(authority.certify(settings.ca_key_file, "CA"))
    with ControlPlane(store.engine, settings, store.vault) as control:
        yield control


def hold(store: Store) -> Held:
    with db.writing(store.engine) as session:
        return restored.hold(session, MADE)


def release(store: Store) -> list[str]:
    with db.writing(store.engine) as session:
        return [host.name for host in restored.release(session)]


def due(control: ControlPlane) -> set[str]:
    """The kinds of work that the reconciler would take up."""
    with db.reading(control.engine) as session:
        return {work.kind for work in duties.works(control) if list(work.due(session, utcnow()))}


def test_no_host_and_nobody_outside_is_reached_until_the_release(
    store: Store, control: ControlPlane
) -> None:
    with db.writing(store.engine) as session:
        for row in session.exec(select(Issuance)):
            session.delete(row)  # one host has none: an order is wanted for it
    before = due(control)
    assert before >= {"host", "move"} | OUTWARD - {"certificate"}
    held = hold(store)
    assert held.hosts == {"mx1": REASON, "mx2": REASON}
    assert due(control) & ({"host", "unreachable host", "move"} | OUTWARD) == set()
    assert release(store) == ["mx1", "mx2"]
    assert due(control) >= {"host", "withdrawal", "registration", "account"}
    with db.reading(store.engine) as session:
        assert restored.held(session) is None
        assert release(store) == []


def test_a_host_that_was_paused_before_stays_so(store: Store, acme: Workspace) -> None:
    with db.writing(store.engine) as session:
        hosts.pause(session, hosts.get_by_name(session, "mx2"), "kernel update")
        hosts.drain(session, hosts.get_by_name(session, "mx1"))
    assert hold(store).hosts == {"mx1": REASON, "mx2": "kernel update"}
    with db.reading(store.engine) as session:
        seen = conditions.get_all(session, [hosts.get_by_name(session, "mx1").id])
        (converged,) = [row for (_, kind), row in seen.items() if kind is Type.CONVERGED]
        assert (converged.status, converged.message) == (Status.UNKNOWN, REASON)
    assert release(store) == ["mx1"]
    with db.reading(store.engine) as session:
        one, two = hosts.list_(session)
        assert (one.paused, one.draining, two.paused) == (False, True, True)
        assert restored.held(session) is None


def test_hosts_may_be_taken_up_one_by_one(store: Store, acme: Workspace) -> None:
    hold(store)
    for name in ("mx1", "mx2"):
        with db.writing(store.engine) as session:
            assert restored.held(session) == MADE
            hosts.resume(session, hosts.get_by_name(session, name))
    with db.reading(store.engine) as session:
        assert restored.held(session) is None


@pytest.fixture
def knot(store: Store, acme: Workspace, tmp_path: Path) -> Iterator[knotkit.NameServer]:
    """The server of the tenant's zone."""
    (tmp_path / "knot").mkdir()
    with knotkit.serving(tmp_path / "knot") as running:
        for words in KNOT:
            running.knotc(*words.split())
        with db.writing(store.engine) as session:
            zone = session.exec(select(Zone)).one()
            zone.server, zone.port, zone.tsig_name = "127.0.0.1", running.port, knotkit.TSIG_NAME
            zone.tsig_secret = store.vault.encrypt(knotkit.TSIG_SECRET)
        yield running


def test_nothing_is_published_until_the_release(
    store: Store, acme: Workspace, knot: knotkit.NameServer
) -> None:
    publication = Publication(store.engine, store.settings, store.vault)
    mx = ExpectedRecord(Purpose.MX, "MX", "acme.com", "10 mx1.fleetlab.net")
    with db.reading(store.engine) as session:
        wanted = {mx: domains.get_by_name(session, acme, "acme.com").id}
    hold(store)
    told = publication.publish(wanted, acme.id)
    assert (told.status, told.reason, told.message) == (Status.UNKNOWN, Reason.PAUSED, REASON)
    assert "mx1" not in knot.knotc("zone-read", "acme.com", "@", "MX")
    release(store)
    assert publication.publish(wanted, acme.id).status is Status.TRUE
    assert "mx1.fleetlab.net" in knot.knotc("zone-read", "acme.com", "@", "MX")


@pytest.mark.parametrize(
    "phase",
    [
        MovePhase.PREPARING,
        MovePhase.COPYING,
        MovePhase.SWITCHING,
        MovePhase.OVERLAPPING,
        MovePhase.CANCELLING,
    ],
)
def test_a_move_ends_and_every_mailbox_stays_where_its_row_says(
    store: Store, acme: Workspace, phase: MovePhase
) -> None:
    with db.writing(store.engine) as session:
        move = session.exec(select(Move)).one()
        first, second = [row for row, _ in relocations.living(session, move)]
        relocations.enter(session, move, phase)
        if phase is MovePhase.SWITCHING:
            relocations.hold(session, move, [first])
            relocations.switch(session, move, {first.mailbox_id: ("digest", 7)})
            relocations.hold(session, move, [second])
        before = _addresses(session)
    (told,) = hold(store).moves
    assert f"198.51.100.21 (mx1) -> 198.51.100.32 (mx2) of acme: was {phase}" in told
    assert ("1 of 2" in told) == (phase is MovePhase.SWITCHING)
    release(store)
    with db.writing(store.engine) as session:
        (ended,) = moves.list_(session, ended=True)
        assert (ended.phase, moves.list_(session)) == (MovePhase.CANCELLED, [])
        assert ended.message == f"{REASON}; what is on the hosts was left there"
        assert _addresses(session) == before
        # Whoever was held is served again, where the row says.
        for host in hosts.list_(session):
            made = spec.build(
                session,
                store.vault,
                host,
                spec.carried(session, host),
                message_size_limit=1,
            )
            assert not any(box.held for box in made.mailboxes)
        # Both addresses are the tenant's still: it can be begun anew, once it was looked at.
        moves.start(
            session, _address(session, "198.51.100.21"), to=_address(session, "198.51.100.32")
        )


def _address(session: Session, ip: str) -> Address:
    return session.exec(select(Address).where(Address.ip == ip)).one()


def _addresses(session: Session) -> dict[str, UUID]:
    return dict(session.exec(select(Mailbox.email, Mailbox.address_id)).all())


def test_rows_follow_mail_that_has_moved_since(store: Store, acme: Workspace) -> None:
    with db.writing(store.engine) as session:
        old, new = _address(session, "198.51.100.21"), _address(session, "198.51.100.32")
        with pytest.raises(Conflict, match="no host waits after a restore"):
            restored.follow(session, old, new, [ALICE])
    hold(store)
    with (
        pytest.raises(NotFound, match=r"zoe@acme\.com is not at"),
        db.writing(store.engine) as session,
    ):
        old, new = _address(session, "198.51.100.21"), _address(session, "198.51.100.32")
        restored.follow(session, old, new, [ALICE, "zoe@acme.com"])
    for email in (ALICE, "ben@acme.com"):
        with db.writing(store.engine) as session:
            old, new = _address(session, "198.51.100.21"), _address(session, "198.51.100.32")
            assert old.state is AddressState.ASSIGNED
            assert _addresses(session)[email] == old.id
            restored.follow(session, old, new, [email])
            assert _addresses(session)[email] == new.id
            assert moves.list_(session) == []
    with db.reading(store.engine) as session:
        # Nothing is left there: as after any move.
        assert _address(session, "198.51.100.21").state is AddressState.COOLDOWN
        assert restored.held(session) == MADE


def test_a_message_that_may_have_been_sent_is_given_up(store: Store, acme: Workspace) -> None:
    later = schedule(store, acme, timedelta(hours=1))
    with db.writing(store.engine) as session:
        # Being sent when the backup was made: it is not due for a quarter of an hour.
        first = select(ScheduledMessage).where(ScheduledMessage.message_id != later)
        assert scheduled.take(session, session.exec(first).one().id, utcnow()) is not None
    assert hold(store).messages == {"acme": 1}
    with db.reading(store.engine) as session:
        rows = session.exec(select(ScheduledMessage).order_by(col(ScheduledMessage.send_at)))
        overdue, waiting = rows.all()
        assert (overdue.state, overdue.content) == (ScheduledState.FAILED, None)
        assert overdue.response == f"{REASON}: it may have been sent already"
        assert overdue.ended_at is not None
        assert (waiting.message_id, waiting.state) == (later, ScheduledState.SCHEDULED)
        assert waiting.content is not None


def test_mail_that_is_to_be_purged_is_told(store: Store, acme: Workspace) -> None:
    with db.writing(store.engine) as session:
        box = mailboxes.get_by_email(session, acme, "ben@acme.com").mailbox
        box.deleted_at = box.purge_since = utcnow()
    held = hold(store)
    assert held.purges == ["ben@acme.com"]
