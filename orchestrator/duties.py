"""What a reconciler has to do, and when each of it is due."""

from collections.abc import Callable, Iterable
from contextlib import suppress
from datetime import datetime
from functools import partial
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement
from sqlmodel import Session, col, select
from sqlmodel.sql.expression import SelectOfScalar

from orchestrator import dkim, transit
from orchestrator import leases as leasing
from orchestrator.backoff import LONGEST_SECONDS
from orchestrator.conditions import Status, Type
from orchestrator.control import ControlPlane
from orchestrator.db import reading, writing
from orchestrator.errors import Conflict
from orchestrator.models import Address, Condition, Domain, Host, Move, utcnow
from orchestrator.scheduler import Chore, Claim, Work
from orchestrator.services import (
    addresses,
    clock,
    dkim_rotation,
    issuances,
    ledger,
    purge,
    releases,
    runs,
    scheduled,
)

#: Releases of the templates of which the texts are kept, beside those that hosts have.
RELEASES_KEPT = 20


def works(control: ControlPlane) -> list[Work]:
    """What comes due subject by subject."""
    reconcile, leases = control.reconciler.reconcile, control.reconciler.leases

    def put_off(due: Any) -> Claim:
        return partial(leasing.put_off, control.engine, due, control.settings.lease_seconds)

    return [
        Work("host", _reachable, reconcile, leases.claim, threads=64),
        Work("unreachable host", _unreachable, reconcile, leases.claim, threads=32),
        Work("names", _names, control.proofs.check_host_names, put_off(Host.dns_due_at)),
        Work("domain", _domains, control.proofs.check_domain, put_off(Domain.dns_due_at), 16),
        Work("egress", _egress, control.egress.send, put_off(Address.egress_due_at)),
        Work("withdrawal", ledger.due_subjects, control.publication.withdraw, threads=4),
        Work("move", _moves, control.mover.advance, threads=16),
        Work("certificate", _certificates(control), control.renewals.check, threads=4),
        Work("scheduled message", scheduled.due, control.postman.submit, threads=16),
    ]


def chores(control: ControlPlane) -> list[Chore]:
    """What is done every so many seconds."""
    settings = control.settings
    longest = {
        "host": max(settings.probe_interval, LONGEST_SECONDS),
        "dns": settings.dns_interval,
        "egress": max(settings.egress_interval, LONGEST_SECONDS),
    }

    def tidy() -> None:
        with writing(control.engine) as session:
            addresses.end_cooldowns(session, utcnow(), control.settings.cooldown_seconds)
            purge.deleted(session)
            clock.set_right(session, utcnow(), longest)
            scheduled.set_right(session, utcnow())

    def rotate() -> None:
        with reading(control.engine) as session:
            old = dkim_rotation.due(session, control.settings, utcnow())
        for domain in old:
            pair = dkim.generate()
            # Another reconciler may have been faster.
            with suppress(Conflict), writing(control.engine) as session:
                row = session.get_one(Domain, domain.id)
                dkim_rotation.add(session, control.vault, row, pair)

    def forget() -> None:
        with writing(control.engine) as session:
            runs.prune(session, control.settings.runs_kept)
            releases.prune(session, RELEASES_KEPT)
            scheduled.prune(session, utcnow())

    return [
        Chore("expire probes", 5, control.egress.expire),
        Chore("abandoned records", 5, control.publication.abandon),
        Chore("rotate keys", 60, rotate),
        Chore("rollout", 1, control.rollouts.step),
        Chore("tidy", 60, tidy),
        Chore("forget history", 600, forget),
    ]


def _reachable(session: Session, now: datetime) -> Iterable[UUID]:
    return session.exec(_hosts(now).where(~_answers_not()))


def _unreachable(session: Session, now: datetime) -> Iterable[UUID]:
    # Apart from the others: each of them keeps a thread until a time-out.
    return session.exec(_hosts(now).where(_answers_not()))


def _hosts(now: datetime) -> SelectOfScalar[UUID]:
    rows = select(Host.id).where(Host.due_at <= now, col(Host.paused).is_(False))
    return rows.order_by(col(Host.due_at))


def _answers_not() -> ColumnElement[bool]:
    seen = select(Condition.id).where(
        Condition.subject_id == Host.id,
        Condition.type == Type.REACHABLE,
        Condition.status == Status.FALSE,
    )
    return seen.exists()


def _names(session: Session, now: datetime) -> Iterable[UUID]:
    rows = select(Host.id).where(Host.dns_due_at <= now)
    return session.exec(rows.order_by(col(Host.dns_due_at)))


def _domains(session: Session, now: datetime) -> Iterable[UUID]:
    rows = select(Domain.id).where(Domain.dns_due_at <= now, col(Domain.deleted_at).is_(None))
    return session.exec(rows.order_by(col(Domain.dns_due_at)))


def _moves(session: Session, now: datetime) -> Iterable[UUID]:
    under_way = col(Move.phase).in_(transit.UNDER_WAY)
    return session.exec(select(Move.id).where(Move.due_at <= now, under_way))


def _egress(session: Session, now: datetime) -> Iterable[UUID]:
    return session.exec(select(Address.id).where(Address.egress_due_at <= now))


def _certificates(control: ControlPlane) -> Callable[[Session, datetime], Iterable[UUID]]:
    return lambda session, now: issuances.due(session, now, control.renewals.free)
