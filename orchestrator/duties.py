"""What a reconciler has to do, and when each of it is due."""

from collections.abc import Callable, Iterable
from datetime import datetime
from functools import partial
from uuid import UUID

from sqlmodel import Session, col, select

from orchestrator.backoff import LONGEST_SECONDS
from orchestrator.control import ControlPlane
from orchestrator.db import writing
from orchestrator.leases import unheld
from orchestrator.models import Address, Domain, Host, utcnow
from orchestrator.scheduler import Chore, Work
from orchestrator.services import addresses, clock, issuances, purge, runs


def works(control: ControlPlane) -> list[Work]:
    """What comes due subject by subject."""
    return [
        Work("host", partial(_hosts, control.settings.lease_seconds), control.reconciler.reconcile),
        Work("names", _names, control.proofs.check_host_names),
        Work("domain", _domains, control.proofs.check_domain),
        Work("egress", _egress, control.egress.send),
        Work("certificate", _certificates(control), control.renewals.check),
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

    def forget_runs() -> None:
        with writing(control.engine) as session:
            runs.prune(session, control.settings.runs_kept)

    return [
        Chore("expire probes", 5, control.egress.expire),
        Chore("rollout", 1, control.rollouts.step),
        Chore("tidy", 60, tidy),
        Chore("forget runs", 600, forget_runs),
    ]


def _hosts(lease: float, session: Session, now: datetime) -> Iterable[UUID]:
    running = col(Host.paused).is_(False)
    return session.exec(select(Host.id).where(Host.due_at <= now, unheld(now, lease), running))


def _names(session: Session, now: datetime) -> Iterable[UUID]:
    return session.exec(select(Host.id).where(Host.dns_due_at <= now))


def _domains(session: Session, now: datetime) -> Iterable[UUID]:
    rows = select(Domain.id).where(Domain.dns_due_at <= now, col(Domain.deleted_at).is_(None))
    return session.exec(rows)


def _egress(session: Session, now: datetime) -> Iterable[UUID]:
    return session.exec(select(Address.id).where(Address.egress_due_at <= now))


def _certificates(control: ControlPlane) -> Callable[[Session, datetime], Iterable[UUID]]:
    return lambda session, now: issuances.due(session, now, control.renewals.free)
