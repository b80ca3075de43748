"""The ledger: only what we wrote ourselves is ever withdrawn."""

from datetime import timedelta
from uuid import UUID, uuid4

import pytest
from sqlmodel import select
from storekit import Store

from orchestrator import db
from orchestrator.dns.changes import brought
from orchestrator.dns.records import ExpectedRecord, Purpose, joined, split
from orchestrator.models import Domain, Host, PublishedRecord, Zone, utcnow
from orchestrator.services import hosts, ledger, zones

MX1 = ExpectedRecord(Purpose.MX, "MX", "acme.com", "10 mx1.fleetlab.net")
MX2 = ExpectedRecord(Purpose.MX, "MX", "acme.com", "10 mx2.fleetlab.net")
KEY = ExpectedRecord(Purpose.DKIM, "TXT", "s._domainkey.acme.com", "v=DKIM1; p=A")
DMARC = ExpectedRecord(Purpose.DMARC, "TXT", "_dmarc.acme.com", "v=DMARC1; p=quarantine")
TOKEN = ExpectedRecord(Purpose.OWNERSHIP, "TXT", "_mailfleet.acme.com", "mailfleet-verification=1")


def spf(*ips: str) -> ExpectedRecord:
    terms = "".join(f" ip4:{ip}" for ip in ips)
    return ExpectedRecord(Purpose.SPF, "TXT", "acme.com", f"v=spf1{terms} -all")


@pytest.fixture
def zone(store: Store) -> Zone:
    return store.zone()


def claim(store: Store, zone: Zone, subject: UUID, *records: ExpectedRecord) -> None:
    with db.writing(store.engine) as session:
        ledger.claim(session, zone.id, dict.fromkeys(split(records), subject))


def settle(store: Store, zone: Zone, subject: UUID, *records: ExpectedRecord) -> None:
    with db.writing(store.engine) as session:
        ledger.settle(session, [zone.id], subject, records, 60.0)


def due(store: Store, subject: UUID) -> list[ExpectedRecord]:
    with db.reading(store.engine) as session:
        found = ledger.due_records(session, subject)
        assert bool(found) == (subject in ledger.due_subjects(session, utcnow()))
        return [record for records in found.values() for record in records]


def pass_time(store: Store, seconds: float) -> None:
    with db.writing(store.engine) as session:
        for row in session.exec(select(PublishedRecord)):
            row.withdraw_at = row.withdraw_at and row.withdraw_at - timedelta(seconds=seconds)


def test_what_is_expected_no_more_is_withdrawn(store: Store, zone: Zone) -> None:
    subject = uuid4()
    claim(store, zone, subject, KEY, TOKEN)
    settle(store, zone, subject, KEY, TOKEN)
    assert due(store, subject) == []
    settle(store, zone, subject, TOKEN)
    assert due(store, subject) == [KEY]
    settle(store, zone, subject, TOKEN, KEY)
    assert due(store, subject) == []


def test_what_was_never_ours_is_never_withdrawn(store: Store, zone: Zone) -> None:
    subject = uuid4()
    settle(store, zone, subject, KEY, DMARC)
    settle(store, zone, subject)
    assert due(store, subject) == []


def test_mail_servers_and_senders_overlap_for_a_ttl(store: Store, zone: Zone) -> None:
    subject = uuid4()
    claim(store, zone, subject, MX1, spf("198.51.100.21", "198.51.100.22"))
    expected = (MX2, spf("198.51.100.22", "198.51.100.31"))
    with db.reading(store.engine) as session:
        both = ledger.with_lingering(session, subject, expected)
    assert set(both) == {MX1, MX2, spf("198.51.100.21", "198.51.100.22", "198.51.100.31")}
    settle(store, zone, subject, *expected)
    assert due(store, subject) == []
    pass_time(store, 61)
    assert set(due(store, subject)) == {MX1, spf("198.51.100.21")}
    with db.reading(store.engine) as session:
        assert set(ledger.with_lingering(session, subject, expected)) == set(expected)


def test_a_record_goes_over_to_whoever_expects_it_now(store: Store, zone: Zone) -> None:
    old, new = uuid4(), uuid4()
    claim(store, zone, old, TOKEN, KEY)
    settle(store, zone, new, TOKEN)
    settle(store, zone, old)
    assert due(store, old) == [KEY]
    settle(store, zone, new)
    assert due(store, new) == [TOKEN]


def test_the_records_of_a_deleted_domain_and_a_removed_host_are_withdrawn(
    store: Store, zone: Zone
) -> None:
    host = store.host()
    other = store.host("mx2", "198.51.100.12")
    (address,) = store.pool(host, "198.51.100.21")
    workspace = store.workspace()
    store.assign(workspace)
    domain = store.domain(workspace)
    claim(store, zone, domain.id, TOKEN)
    claim(store, zone, other.id, MX2)
    claim(store, zone, address.id, KEY)

    def abandon() -> list[list[ExpectedRecord]]:
        with db.writing(store.engine) as session:
            ledger.abandon(session)
        return [due(store, subject) for subject in (domain.id, other.id, address.id)]

    assert abandon() == [[], [], []]
    with db.writing(store.engine) as session:
        session.get_one(Domain, domain.id).deleted_at = utcnow()
    assert abandon() == [[TOKEN], [], []]
    with db.writing(store.engine) as session:
        hosts.remove(session, session.get_one(Host, other.id))
    assert abandon() == [[TOKEN], [MX2], []]


def test_a_withdrawal_is_tried_again_until_it_is_done(store: Store, zone: Zone) -> None:
    subject = uuid4()
    claim(store, zone, subject, KEY, TOKEN)
    settle(store, zone, subject)
    with db.writing(store.engine) as session:
        ledger.postpone(session, zone.id, [KEY, TOKEN], 30.0)
    assert due(store, subject) == []
    pass_time(store, 31)
    # Meanwhile one of them is expected again.
    settle(store, zone, subject, TOKEN)
    with db.writing(store.engine) as session:
        ledger.withdrawn(session, zone.id, [KEY, TOKEN])
        assert [row.name for row in session.exec(select(PublishedRecord))] == [TOKEN.name]


def test_a_zone_that_is_ours_no_more_keeps_its_records(store: Store, zone: Zone) -> None:
    subject = uuid4()
    claim(store, zone, subject, KEY)
    with db.writing(store.engine) as session:
        zones.remove(session, zone.name)
        ledger.abandon(session)
    assert due(store, subject) == []


def test_what_a_change_brings() -> None:
    before = ["v=spf1 ip4:198.51.100.21 mx -all"]
    after = ["v=spf1 ip4:198.51.100.22 ip4:198.51.100.21 mx -all"]
    assert brought(before, after, [spf("198.51.100.21", "198.51.100.22")]) == [spf("198.51.100.22")]
    assert brought([], [KEY.value], [KEY]) == [KEY]
    assert brought([KEY.value], [KEY.value], [KEY]) == []
    # A tenant's own policy was kept, so ours does not stand.
    assert brought(["v=DMARC1; p=none"], ["v=DMARC1; p=none"], [DMARC]) == []


def test_records_are_split_and_joined() -> None:
    records = [MX1, spf("198.51.100.21", "198.51.100.22")]
    parts = split(records)
    assert parts == [MX1, spf("198.51.100.21"), spf("198.51.100.22")]
    assert joined([*parts, MX1, spf("198.51.100.21")]) == records
