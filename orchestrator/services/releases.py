"""Releases of the templates: recorded, given to hosts, and taken back from them."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import defer
from sqlmodel import Session, col, delete, select, update
from sqlmodel.sql.expression import SelectOfScalar

from orchestrator.conditions import Reason, Status, Type
from orchestrator.errors import Conflict
from orchestrator.models import Address, Condition, Host, Release, ReleaseState, utcnow
from orchestrator.rendering import TemplateSet
from orchestrator.services.wake import wake
from orchestrator.waves import Standing

#: The states in which a release is on its way.
UNDER_WAY = (ReleaseState.CANARY, ReleaseState.ROLLING)
#: What a host's pass fails with when the templates are to blame.
BLAMED = {
    Reason.RENDERING_FAILED,
    Reason.VALIDATION_FAILED,
    Reason.SMOKE_TEST_FAILED,
    Reason.APPLY_FAILED,
}
#: What another release may mend, or what passes by itself: the host can be chosen.
MENDABLE = BLAMED | {Reason.DRIFTED, Reason.BUSY}


@dataclass(frozen=True)
class Fault:
    """What speaks against a release, and the host that it was seen on."""

    host: str
    message: str


def newest(session: Session, *, lock: bool = False) -> Release | None:
    """The release that all hosts shall come to have, without its texts.

    :param lock: keep other reconcilers from deciding about it in this transaction.
    """
    found = select(Release).order_by(col(Release.number).desc()).limit(1)
    found = found.options(defer(col(Release.templates)))  # type: ignore[arg-type]
    return session.exec(found.with_for_update() if lock else found).first()


def list_(session: Session) -> list[Release]:
    """All releases without their texts, newest first."""
    found = select(Release).order_by(col(Release.number).desc())
    return list(session.exec(found.options(defer(col(Release.templates)))))  # type: ignore[arg-type]


def texts(session: Session, release_id: UUID) -> dict[str, str]:
    """The templates of a release, by name."""
    return dict(session.exec(select(Release.templates).where(Release.id == release_id)).one())


def record(session: Session, templates: TemplateSet) -> Release:
    """Make these templates the newest release, unless they are.

    It starts with canaries; where nothing has ever converged there is nothing to be careful
    of, and all hosts have it at once.
    """
    last = newest(session, lock=True)
    if last is not None and last.digest == templates.digest:
        return last
    careful = (
        last is not None
        and session.exec(select(Host.id).where(col(Host.applied_at).is_not(None)).limit(1)).first()
    )
    row = Release(
        number=last.number + 1 if last is not None else 1,
        digest=templates.digest,
        templates=dict(templates.texts),
        state=ReleaseState.CANARY if careful else ReleaseState.DONE,
    )
    try:
        with session.begin_nested():
            session.add(row)
    except IntegrityError:
        # Another reconciler has just done it; ours is looked at again with the next change.
        return session.exec(select(Release).where(Release.number == row.number)).one()
    if last is not None and last.state in UNDER_WAY:
        enter(last, ReleaseState.SUPERSEDED)
    if row.state is ReleaseState.DONE:
        session.exec(update(Host).values(release_id=row.id))
    return row


def ensure(session: Session, host_id: UUID, templates: Callable[[], TemplateSet]) -> UUID:
    """The release of a host; one that has none gets the newest that is good.

    :param templates: gives the first release, where there is none yet.
    """
    host = session.get_one(Host, host_id)
    if host.release_id is None:
        host.release_id = (_good(session) or record(session, templates())).id
    return host.release_id


def _good(session: Session) -> Release | None:
    done = select(Release).where(Release.state == ReleaseState.DONE)
    return session.exec(done.order_by(col(Release.number).desc()).limit(1)).first()


def prune(session: Session, kept: int) -> None:
    """Forget all but the newest ``kept`` releases, the last good one and those on hosts."""
    numbers = select(Release.id).order_by(col(Release.number).desc())
    needed = (
        numbers.limit(kept),
        numbers.where(Release.state == ReleaseState.DONE).limit(1),
        select(Host.release_id).where(col(Host.release_id).is_not(None)),
        select(Host.seen_release_id).where(col(Host.seen_release_id).is_not(None)),
    )
    session.exec(delete(Release).where(*(col(Release.id).not_in(ids) for ids in needed)))


def progress(session: Session, release: Release) -> tuple[int, int, list[str]]:
    """How many hosts have the release, how many were last seen with it, and who is yet to be."""
    rows = session.exec(
        select(Host.name, Host.seen_release_id).where(Host.release_id == release.id)
    ).all()
    waiting = sorted(name for name, seen in rows if seen != release.id)
    return len(rows), len(rows) - len(waiting), waiting


def standings(session: Session, release: Release) -> list[Standing]:
    """How all hosts that have ever converged stand to the release."""
    hosts = session.exec(select(Host).where(col(Host.applied_at).is_not(None))).all()
    types = (Type.CONVERGED, Type.REACHABLE)
    rows = session.exec(select(Condition).where(col(Condition.type).in_(types)))
    seen = {(row.subject_id, row.type): row for row in rows}
    return [
        _standing(host, release, seen.get((host.id, types[0])), seen.get((host.id, types[1])))
        for host in hosts
    ]


def _standing(
    host: Host, release: Release, converged: Condition | None, reachable: Condition | None
) -> Standing:
    good = converged is not None and converged.status is Status.TRUE
    given = host.release_id == release.id
    return Standing(
        id=host.id,
        name=host.name,
        os=host.os or "",
        load=host.load or 0.0,
        available=not host.paused
        and host.os is not None
        and (good or (converged is not None and converged.reason in MENDABLE))
        and not (reachable is not None and reachable.status is Status.FALSE),
        converged=good,
        given=given,
        settled=given and good and host.seen_release_id == release.id,
    )


def fault(session: Session, release: Release) -> Fault | None:
    """What went wrong on a host that has the release: its pass, or its proof of egress."""
    failed = (
        select(Host, Condition)
        .join(Condition, col(Condition.subject_id) == col(Host.id))
        .where(
            Host.release_id == release.id,
            Host.seen_release_id == release.id,
            Condition.type == Type.CONVERGED,
            Condition.status == Status.FALSE,
            col(Condition.reason).in_(BLAMED),
        )
    )
    for host, condition in session.exec(failed):
        return Fault(host.name, f"{condition.reason}: {condition.message}")
    lost = (
        select(Host, Address.ip, Condition)
        .join(Address, col(Address.host_id) == col(Host.id))
        .join(Condition, col(Condition.subject_id) == col(Address.id))
        .where(
            Host.release_id == release.id,
            Host.seen_release_id == release.id,
            Condition.type == Type.EGRESS_PROVEN,
            Condition.status == Status.FALSE,
            Condition.transition_at >= release.since,
        )
    )
    for host, ip, condition in session.exec(lost):
        return Fault(host.name, f"{ip}: {condition.reason}: {condition.message}")
    return None


def give(session: Session, release: Release, host_ids: Collection[UUID]) -> None:
    """From now on the hosts are rendered with the release."""
    hosts = update(Host).where(col(Host.id).in_(host_ids))
    # What an earlier try left there says nothing about this one.
    session.exec(hosts.values(release_id=release.id, seen_release_id=None))
    wake(session, host_ids)


def enter(release: Release, state: ReleaseState) -> None:
    """The release is now in that state."""
    release.state = state
    release.since = utcnow()
    release.proving_since = None


def prove(session: Session, release: Release, now: datetime) -> None:
    """The canaries are converged: mail is sent from each of their proven addresses once more."""
    release.proving_since = now
    proven = _proven_egress(release)
    session.exec(update(Address).where(col(Address.id).in_(proven)).values(egress_due_at=now))


def unproven(session: Session, release: Release) -> bool:
    """Whether an address of a canary was proven before and has not been proven again yet."""
    assert release.proving_since is not None
    late = _proven_egress(release).where(Condition.observed_at < release.proving_since)
    return session.exec(late).first() is not None


def _proven_egress(release: Release) -> SelectOfScalar[UUID]:
    return (
        select(Address.id)
        .join(Host, col(Host.id) == col(Address.host_id))
        .join(Condition, col(Condition.subject_id) == col(Address.id))
        .where(
            Host.release_id == release.id,
            Condition.type == Type.EGRESS_PROVEN,
            Condition.known == Status.TRUE,
        )
    )


def fail(session: Session, release: Release, fault: Fault, standings: Sequence[Standing]) -> None:
    """Stop the release, and put hosts back to the newest good one.

    All canaries go back; in a later wave those that work with the release keep it.
    """
    keep = release.state is ReleaseState.ROLLING
    back = [s.id for s in standings if s.given and not (keep and s.settled)]
    good = _good(session)
    assert good is not None, "the first release is good by definition"
    give(session, good, back)
    enter(release, ReleaseState.FAILED)
    release.failed_host = fault.host
    release.message = fault.message


def finish(session: Session, release: Release) -> None:
    """The release is everybody's: who was paused or away gets it on return."""
    enter(release, ReleaseState.DONE)
    session.exec(update(Host).values(release_id=release.id))


def retry(session: Session) -> Release:
    """Try the newest release again, from the canaries on.

    :raises Conflict: when it has not failed.
    """
    release = newest(session, lock=True)
    if release is None or release.state is not ReleaseState.FAILED:
        raise Conflict("the newest release has not failed: there is nothing to try again")
    enter(release, ReleaseState.CANARY)
    release.failed_host, release.message = None, ""
    return release
