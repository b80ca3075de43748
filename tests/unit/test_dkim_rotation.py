"""The life of DKIM keys: none signs before its record was seen for a TTL."""

from datetime import UTC, datetime, timedelta

import pytest
from sqlmodel import select
from storekit import Store

from orchestrator import db, dkim, spec
from orchestrator.conditions import Reason, Status
from orchestrator.dns.judgement import Observation
from orchestrator.dns.records import Purpose
from orchestrator.errors import Conflict
from orchestrator.models import DkimKey, DkimState, Domain, Host, Workspace, utcnow
from orchestrator.services import dkim_rotation
from orchestrator.services.dkim_rotation import KeyStatus

PAIR = ("PRIVATE", "UFVCTElD")
TRUE, FALSE, UNKNOWN = Status.TRUE, Status.FALSE, Status.UNKNOWN


@pytest.fixture
def host(store: Store) -> Host:
    """A host that was applied, and has an address of the workspace."""
    host = store.host()
    store.pool(host, "198.51.100.21")
    apply(store, host)
    return host


@pytest.fixture
def domain(store: Store, host: Host) -> Domain:
    workspace = store.workspace()
    store.assign(workspace)
    domain = store.domain(workspace)
    store.prove(domain)
    return domain


def apply(store: Store, host: Host) -> None:
    with db.writing(store.engine) as session:
        row = session.get_one(Host, host.id)
        row.applied_at, row.os = utcnow(), "debian13"


def look(store: Store, domain: Domain, *statuses: Status, negative_ttl: float = 0.0) -> Reason:
    """Look at DNS once: what is seen of each key's record, oldest first. Gives DkimOk's reason."""
    with db.writing(store.engine) as session:
        row = session.get_one(Domain, domain.id)
        seen = {
            key.selector: Observation(Purpose.DKIM, status, Reason.OBSERVED, "")
            for key, status in zip(dkim_rotation.keys(session, row.id), statuses, strict=True)
        }
        dkim_rotation.observe(session, store.settings, row, seen, negative_ttl)
        return dkim_rotation.verdict(session, store.settings, row, seen)[1]


def pass_time(store: Store, seconds: float) -> None:
    """What was is so much longer ago."""
    with db.writing(store.engine) as session:
        for key in session.exec(select(DkimKey)):
            for field in ("seen_at", "activated_at", "retired_at"):
                moment = getattr(key, field)
                setattr(key, field, moment and moment - timedelta(seconds=seconds))


def states(store: Store, domain: Domain) -> dict[str, DkimState]:
    with db.reading(store.engine) as session:
        keys = dkim_rotation.keys(session, domain.id)
        return {key.selector.removeprefix(f"adbtd-{utcnow().year}"): key.state for key in keys}


def status(store: Store, domain: Domain) -> list[KeyStatus]:
    with db.reading(store.engine) as session:
        return dkim_rotation.status(session, store.settings, session.get_one(Domain, domain.id))


def rotate(store: Store, domain: Domain) -> None:
    with db.writing(store.engine) as session:
        dkim_rotation.add(session, store.vault, session.get_one(Domain, domain.id), PAIR)


def activate(store: Store, host: Host, domain: Domain) -> None:
    look(store, domain, TRUE)
    pass_time(store, 301)
    look(store, domain, TRUE)
    apply(store, host)


def signing(store: Store, host: Host) -> dict[str, bool]:
    with db.reading(store.engine) as session:
        row = session.get_one(Host, host.id)
        found = spec._domains(session, row, spec.carried(session, row).addresses)
        keys = spec._dkim_keys(session, store.vault, found)
        return {key.selector: key.signs for key in keys if key.domain == "acme.com"}


@pytest.mark.parametrize(
    ("year", "used", "expected"),
    [
        (2026, [], "adbtd-2026"),
        (2026, ["adbtd-2026"], "adbtd-2026b"),
        (2026, ["adbtd-2026z", "adbtd-2026c", "adbtd-2026"], "adbtd-2026aa"),
        (2026, ["adbtd-2026az"], "adbtd-2026ba"),
        (2026, ["adbtd-2026zz"], "adbtd-2026aaa"),
        (2027, ["adbtd-2026c", "s1"], "adbtd-2027"),
        (2026, ["adbtd-2027"], "adbtd-2027b"),
    ],
)
def test_a_selector_is_never_used_again(year: int, used: list[str], expected: str) -> None:
    assert dkim.selector(datetime(year, 7, 1, tzinfo=UTC), used) == expected


def test_the_first_key_signs_once_its_record_was_seen_for_a_ttl(
    store: Store, host: Host, domain: Domain
) -> None:
    assert look(store, domain, FALSE) is Reason.OBSERVED  # whatever was seen instead
    assert look(store, domain, TRUE) is Reason.AWAITED
    pass_time(store, 299)
    assert look(store, domain, TRUE) is Reason.AWAITED
    assert (states(store, domain), signing(store, host)) == ({"": DkimState.PENDING}, {})
    pass_time(store, 2)
    # The host has not been told yet: what leaves now bears no signature.
    assert look(store, domain, TRUE) is Reason.AWAITED
    assert list(signing(store, host).values()) == [True]
    apply(store, host)
    assert look(store, domain, TRUE) is Reason.OBSERVED


def test_a_long_negative_ttl_is_waited_for(store: Store, domain: Domain) -> None:
    look(store, domain, TRUE, negative_ttl=3600)
    pass_time(store, 3599)
    look(store, domain, TRUE, negative_ttl=3600)
    assert states(store, domain) == {"": DkimState.PENDING}
    pass_time(store, 2)
    look(store, domain, TRUE, negative_ttl=3600)
    assert states(store, domain) == {"": DkimState.ACTIVE}


def test_a_record_that_vanishes_is_waited_for_anew(store: Store, domain: Domain) -> None:
    look(store, domain, TRUE)
    pass_time(store, 200)
    look(store, domain, FALSE)
    look(store, domain, TRUE)
    pass_time(store, 200)
    look(store, domain, TRUE)
    assert states(store, domain) == {"": DkimState.PENDING}


def test_an_unanswered_question_neither_resets_nor_activates(store: Store, domain: Domain) -> None:
    look(store, domain, TRUE)
    pass_time(store, 301)
    look(store, domain, UNKNOWN)
    assert states(store, domain) == {"": DkimState.PENDING}
    look(store, domain, TRUE)
    assert states(store, domain) == {"": DkimState.ACTIVE}


@pytest.mark.parametrize(("status", "soon"), [(TRUE, True), (FALSE, False), (UNKNOWN, False)])
def test_a_key_that_was_seen_is_looked_at_when_its_time_has_come(
    store: Store, domain: Domain, status: Status, soon: bool
) -> None:
    with db.writing(store.engine) as session:
        row = session.get_one(Domain, domain.id)
        (key,) = dkim_rotation.keys(session, row.id)
        seen = {key.selector: Observation(Purpose.DKIM, status, Reason.OBSERVED, "")}
        ready = dkim_rotation.observe(session, store.settings, row, seen, 0)
        assert (ready is not None) == soon


def test_a_whole_rotation(store: Store, host: Host, domain: Domain) -> None:
    activate(store, host, domain)
    rotate(store, domain)
    # The new record isn't there yet: what signs now is what counts.
    assert look(store, domain, TRUE, FALSE) is Reason.OBSERVED
    look(store, domain, TRUE, TRUE)
    pass_time(store, 301)
    look(store, domain, TRUE, TRUE)
    assert states(store, domain) == {"": DkimState.RETIRED, "b": DkimState.ACTIVE}
    assert list(signing(store, host).values()) == [False, True]
    # The host may still sign with the old one, so its time does not run yet.
    pass_time(store, 8 * 86400)
    with db.writing(store.engine) as session:
        row = session.get_one(Host, host.id)
        row.applied_at = utcnow() - timedelta(days=9)
    look(store, domain, TRUE, TRUE)
    assert "mx1" in status(store, domain)[1].waiting_for
    apply(store, host)
    look(store, domain, TRUE, TRUE)
    pass_time(store, 7 * 86400 - 60)
    look(store, domain, FALSE, TRUE)
    assert len(states(store, domain)) == 2
    pass_time(store, 120)
    look(store, domain, FALSE, TRUE)
    assert states(store, domain) == {"b": DkimState.ACTIVE}
    assert [key.waiting_for for key in status(store, domain)] == [""]
    rotate(store, domain)
    assert list(states(store, domain)) == ["b", "c"]


def test_only_one_new_key_waits_at_a_time(store: Store, domain: Domain) -> None:
    with pytest.raises(Conflict):
        rotate(store, domain)
    assert len(states(store, domain)) == 1


def test_a_domain_that_comes_back_gets_another_selector(store: Store, domain: Domain) -> None:
    with db.writing(store.engine) as session:
        row = session.get_one(Domain, domain.id)
        row.deleted_at = utcnow()
        again = Domain(name=row.name, workspace_id=row.workspace_id)
        session.add(again)
        session.flush()
        key = dkim_rotation.add(session, store.vault, again, PAIR)
        assert key.selector.endswith("b")


@pytest.mark.parametrize(
    ("age", "managed", "expected"), [(157, True, 0), (181, True, 1), (400, False, 0)]
)
def test_old_keys_of_managed_zones_are_due(
    store: Store, domain: Domain, age: int, managed: bool, expected: int
) -> None:
    look(store, domain, TRUE)
    pass_time(store, 301)
    look(store, domain, TRUE)
    if managed:
        with db.reading(store.engine) as session:
            owner = session.get_one(Workspace, domain.workspace_id)
        store.zone("acme.com", owner)
    pass_time(store, age * 86400)
    with db.reading(store.engine) as session:
        assert len(dkim_rotation.due(session, store.settings, utcnow())) == expected


def test_keys_of_one_age_are_not_all_due_on_one_day(store: Store) -> None:
    lives = {
        dkim_rotation._lifetime(Domain(name=f"d{number}.com"), 180).days for number in range(200)
    }
    assert min(lives) >= 157 and max(lives) <= 180 and len(lives) > 15


def test_a_host_in_its_first_pass_may_not_have_the_key_yet(store: Store) -> None:
    host = store.host()
    store.pool(host, "198.51.100.21")
    workspace = store.workspace()
    store.assign(workspace)
    domain = store.domain(workspace)
    store.prove(domain)
    look(store, domain, TRUE)
    pass_time(store, 301)
    assert look(store, domain, TRUE) is Reason.AWAITED
    assert look(store, domain, TRUE) is Reason.AWAITED
    apply(store, host)
    assert look(store, domain, TRUE) is Reason.OBSERVED
