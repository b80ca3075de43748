"""The ledger of published records: what we wrote into zones, and when it goes from there.

Only what stands in it is ever withdrawn, and only while it still has the value that we wrote.
"""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from uuid import UUID

from sqlmodel import Session, col, select, update

from orchestrator.dns.records import ExpectedRecord, Purpose, joined, split
from orchestrator.models import Address, Cluster, Domain, Host, PublishedRecord, utcnow

#: What stays for one more TTL where its subject lives on: others may still use what they have
#: cached, and send to the old host, or compare with the old addresses.
LINGERING = frozenset({Purpose.MX, Purpose.SPF})


def claim(session: Session, zone_id: UUID, owned: Mapping[ExpectedRecord, UUID]) -> None:
    """Write down that records are about to be written into a zone by us, each for its subject."""
    known = {_record(row): row for row in _of_names(session, [zone_id], list(owned))}
    for record, subject_id in owned.items():
        row = known.get(record) or PublishedRecord(
            zone_id=zone_id,
            subject_id=subject_id,
            purpose=record.purpose,
            type=record.type,
            name=record.name,
            value=record.value,
        )
        row.subject_id, row.withdraw_at = subject_id, None
        session.add(row)


def settle(
    session: Session,
    zone_ids: Collection[UUID],
    subject_id: UUID,
    expected: Sequence[ExpectedRecord],
    ttl: float,
) -> None:
    """Compare the ledger with what is expected for a subject now.

    What is expected is the subject's, even where another one had us publish it; what isn't any
    more will be withdrawn, MX and SPF after ``ttl`` seconds.
    """
    now = utcnow()
    wanted = set(split(expected))
    mine = select(PublishedRecord).where(PublishedRecord.subject_id == subject_id)
    rows = {row.id: row for row in session.exec(mine)}
    rows |= {row.id: row for row in _of_names(session, zone_ids, expected)}
    for row in rows.values():
        if _record(row) in wanted:
            row.subject_id, row.withdraw_at = subject_id, None
        elif row.subject_id == subject_id and row.withdraw_at is None:
            rest = ttl if row.purpose in LINGERING else 0.0
            row.withdraw_at = now + timedelta(seconds=rest)


def with_lingering(
    session: Session, subject_id: UUID, expected: Sequence[ExpectedRecord]
) -> list[ExpectedRecord]:
    """The expected records, and those MX and SPF that are not expected but stay for their TTL."""
    now = utcnow()
    mine = select(PublishedRecord).where(
        PublishedRecord.subject_id == subject_id, col(PublishedRecord.purpose).in_(LINGERING)
    )
    rest = [
        _record(row)
        for row in session.exec(mine)
        if row.withdraw_at is None or row.withdraw_at > now
    ]
    return joined([*expected, *rest])


def abandon(session: Session) -> None:
    """Withdraw what was published for a subject that is no more."""
    now = utcnow()
    living = (
        select(Domain.id)
        .where(col(Domain.deleted_at).is_(None))
        .union_all(select(Host.id), select(Address.id), select(Cluster.id))
    )
    orphans = update(PublishedRecord).where(
        col(PublishedRecord.withdraw_at).is_(None),
        col(PublishedRecord.subject_id).not_in(living),
    )
    session.exec(orphans.values(withdraw_at=now))


def due_subjects(session: Session, now: datetime) -> Sequence[UUID]:
    """The subjects that have records to withdraw."""
    rows = select(PublishedRecord.subject_id).where(col(PublishedRecord.withdraw_at) <= now)
    return session.exec(rows.distinct()).all()


def due_records(session: Session, subject_id: UUID) -> dict[UUID, list[ExpectedRecord]]:
    """The subject's records that are to be withdrawn now, by their zone's id."""
    rows = select(PublishedRecord).where(
        PublishedRecord.subject_id == subject_id, col(PublishedRecord.withdraw_at) <= utcnow()
    )
    by_zone: dict[UUID, list[ExpectedRecord]] = {}
    for row in session.exec(rows):
        by_zone.setdefault(row.zone_id, []).append(_record(row))
    return by_zone


def withdrawn(session: Session, zone_id: UUID, records: Sequence[ExpectedRecord]) -> None:
    """Forget records that are gone from the zone; one that is expected again stays."""
    for row in _leaving(session, zone_id, records):
        session.delete(row)


def postpone(
    session: Session, zone_id: UUID, records: Sequence[ExpectedRecord], seconds: float
) -> None:
    """Try again later: the zone's server did not take the withdrawal."""
    for row in _leaving(session, zone_id, records):
        row.withdraw_at = utcnow() + timedelta(seconds=seconds)


def _leaving(
    session: Session, zone_id: UUID, records: Sequence[ExpectedRecord]
) -> list[PublishedRecord]:
    rows = _of_names(session, [zone_id], records)
    return [row for row in rows if row.withdraw_at is not None and _record(row) in records]


def _of_names(
    session: Session, zone_ids: Collection[UUID], records: Sequence[ExpectedRecord]
) -> list[PublishedRecord]:
    rows = select(PublishedRecord).where(
        col(PublishedRecord.zone_id).in_(zone_ids),
        col(PublishedRecord.name).in_({record.name for record in records}),
    )
    return list(session.exec(rows))


def _record(row: PublishedRecord) -> ExpectedRecord:
    return ExpectedRecord(row.purpose, row.type, row.name, row.value)
