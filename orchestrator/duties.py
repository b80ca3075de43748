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
from orchestrator.models import (
    Address,
    BillingAccount,
    Condition,
    Domain,
    Host,
    Move,
    Registration,
    utcnow,
)
from orchestrator.payments import LOOK
from orchestrator.scheduler import Chore, Claim, Work
from orchestrator.services import (
    addresses,
    allowances,
    billing,
    clock,
    dkim_rotation,
    idempotency,
    issuances,
    ledger,
    orders,
    purge,
    registrations,
    releases,
    restored,
    runs,
    scheduled,
)

Due = Callable[[Session, datetime], Iterable[UUID]]

#: Releases of the templates of which the texts are kept, beside those that hosts have.
RELEASES_KEPT = 20
#: For how long a reconciler may be at one registration.
PURCHASE_SECONDS = 600.0


def works(control: ControlPlane) -> list[Work]:
    """What comes due subject by subject."""
    reconcile, leases = control.reconciler.reconcile, control.reconciler.leases

    def put_off(due: Any, seconds: float = control.settings.lease_seconds) -> Claim:
        return partial(leasing.put_off, control.engine, due, seconds)

    return [
        Work("host", _reachable, reconcile, leases.claim, threads=64),
        Work("unreachable host", _unreachable, reconcile, leases.claim, threads=32),
        Work("names", _names, control.proofs.check_host_names, put_off(Host.dns_due_at)),
        Work("domain", _domains, control.proofs.check_domain, put_off(Domain.dns_due_at), 16),
        Work("egress", _egress, control.egress.send, put_off(Address.egress_due_at)),
        Work(
            "reputation", _reputation, control.reputation.check, put_off(Address.reputation_due_at)
        ),
        Work("withdrawal", _free(ledger.due_subjects), control.publication.withdraw, threads=4),
        Work(
            "registration",
            _free(registrations.due),
            control.purchases.advance,
            # Longer than a look that meets time-outs at every turn: nothing is bought twice.
            put_off(Registration.due_at, PURCHASE_SECONDS),
            threads=4,
        ),
        Work("move", _moves, control.mover.advance, threads=16),
        Work("certificate", _free(_certificates(control)), control.renewals.check, threads=4),
        Work(
            "account",
            _free(billing.due),
            control.payments.settle,
            put_off(BillingAccount.due_at),
            threads=4,
        ),
        Work("scheduled message", _free(scheduled.due), control.postman.submit, threads=16),
    ]


def chores(control: ControlPlane) -> list[Chore]:
    """What is done every so many seconds."""
    settings = control.settings
    longest = {
        "host": max(settings.probe_interval, LONGEST_SECONDS),
        "dns": settings.dns_interval,
        "egress": max(settings.egress_interval, LONGEST_SECONDS),
        "account": LOOK,
        "registration": max(settings.registrar_interval, PURCHASE_SECONDS),
        "reputation": max(settings.reputation_interval, settings.dns_interval),
    }

    def tidy() -> None:
        with writing(control.engine) as session:
            addresses.end_cooldowns(session, utcnow(), control.settings.cooldown_seconds)
            purge.deleted(session)
            allowances.forget(session, utcnow())
            idempotency.forget(session, settings, utcnow())
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

    def settle() -> None:
        with writing(control.engine) as session:
            orders.settle(session, settings, utcnow())

    return [
        Chore("settle orders", 5, settle),
        Chore("expire probes", 5, control.egress.expire),
        Chore("abandoned records", 5, control.publication.abandon),
        Chore("rotate keys", 60, rotate),
        Chore("rollout", 1, control.rollouts.step),
        Chore("leaving hosts", 2, control.leaving.step),
        Chore("registrar's messages", settings.registrar_interval, control.purchases.read_notices),
        Chore("tidy", 15, tidy),
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


def _reputation(session: Session, now: datetime) -> Iterable[UUID]:
    return session.exec(select(Address.id).where(Address.reputation_due_at <= now))


def _free(due: Due) -> Due:
    """What is due, but nothing while a restored database waits for somebody to look at it."""
    return lambda session, now: () if restored.held(session) else due(session, now)


def _certificates(control: ControlPlane) -> Due:
    return lambda session, now: issuances.due(session, now, control.renewals.free)
