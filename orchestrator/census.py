"""What the fleet is, for Prometheus: read from the database whenever somebody asks.

Names follow https://prometheus.io/docs/practices/naming/. Only hosts are named in labels: there
are few of them. Of mailboxes and domains there may be millions.
"""

from collections.abc import Iterable, Iterator
from datetime import datetime

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from sqlalchemy import Engine
from sqlmodel import Session, col, func, select

from orchestrator.conditions import Status, Type
from orchestrator.db import reading
from orchestrator.models import Address, Certificate, Condition, Domain, Host, Run, utcnow


class Census(Collector):
    """The gauges of one database; a collector of ``prometheus_client``."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def collect(self) -> Iterator[Metric]:
        """All gauges, of this moment."""
        now = utcnow()
        with reading(self._engine) as session:
            hosts = session.exec(select(Host).order_by(Host.name)).all()
            families = [
                _conditions(session),
                _host_states(session, hosts),
                _draining(hosts),
                *_host_figures(hosts),
                *_backlog(hosts, now),
                _addresses(session),
                _runs(session),
                _certificates(session),
            ]
        yield from families


def _conditions(session: Session) -> Metric:
    deleted = select(Domain.id).where(col(Domain.deleted_at).is_not(None))
    rows = (
        select(Condition.type, Condition.status, Condition.reason, func.count())
        .where(col(Condition.subject_id).not_in(deleted))
        .group_by(Condition.type, Condition.status, Condition.reason)
    )
    family = _gauge("conditions", "Conditions as last observed.", "type", "status", "reason")
    for type_, status, reason, count in session.exec(rows):
        family.add_metric([type_, status, reason], count)
    return family


def _host_states(session: Session, hosts: Iterable[Host]) -> Metric:
    rows = select(Condition).where(Condition.type == Type.CONVERGED)
    seen = {row.subject_id: row.status for row in session.exec(rows)}
    names = {Status.TRUE: "converged", Status.FALSE: "failed", Status.UNKNOWN: "unknown"}
    counts = dict.fromkeys(("paused", *names.values()), 0)
    for host in hosts:
        state = "paused" if host.paused else names[seen.get(host.id, Status.UNKNOWN)]
        counts[state] += 1
    family = _gauge("hosts", "Hosts, by what is known of them.", "state")
    for state, count in counts.items():
        family.add_metric([state], count)
    return family


def _draining(hosts: Iterable[Host]) -> Metric:
    family = _gauge("hosts_draining", "Hosts that take no new tenants.")
    family.add_metric([], sum(host.draining for host in hosts))
    return family


def _host_figures(hosts: Iterable[Host]) -> Iterator[Metric]:
    queue = _gauge("host_queue_messages", "Messages in the host's queue.", "host")
    load = _gauge("host_load", "Load of one minute, for each processor.", "host")
    free = _gauge("host_free_bytes", "Least free space among /etc and /var.", "host")
    skew = _gauge("host_clock_skew_seconds", "How far its clock is ahead of ours.", "host")
    failures = _gauge("host_failures", "Passes that failed since the last that didn't.", "host")
    applied = _gauge(
        "host_applied_timestamp_seconds", "When the host was last seen as wanted.", "host"
    )
    for host in hosts:
        _add(queue, host.name, host.queue)
        _add(load, host.name, host.load)
        _add(free, host.name, None if host.free_kib is None else host.free_kib * 1024)
        _add(skew, host.name, host.clock_skew)
        _add(failures, host.name, host.failures)
        _add(applied, host.name, host.applied_at.timestamp() if host.applied_at else None)
    yield from (queue, load, free, skew, failures, applied)


def _backlog(hosts: Iterable[Host], now: datetime) -> Iterator[Metric]:
    due = [host.due_at for host in hosts if host.due_at <= now and not host.paused]
    oldest = (now - min(due)).total_seconds() if due else 0
    held = sum(host.lease_until is not None and host.lease_until > now for host in hosts)
    yield _gauge("hosts_due", "Hosts whose pass is due.", value=len(due))
    yield _gauge("oldest_due_seconds", "How long the first of them has been due.", value=oldest)
    yield _gauge("leases_held", "Hosts that a reconciler holds.", value=held)


def _addresses(session: Session) -> Metric:
    family = _gauge("addresses", "Dedicated IPs, by state.", "state")
    rows = select(Address.state, func.count()).group_by(Address.state)
    for state, count in session.exec(rows):
        family.add_metric([state], count)
    return family


def _runs(session: Session) -> Metric:
    family = _gauge("runs", "Runs kept in the history, by outcome.", "outcome")
    for outcome, count in session.exec(select(Run.outcome, func.count()).group_by(Run.outcome)):
        family.add_metric([outcome], count)
    return family


def _certificates(session: Session) -> Metric:
    family = _gauge("certificate_expiry_timestamp_seconds", "When its certificate ends.", "host")
    rows = (
        select(Host.name, Certificate.not_after)
        .join(Host, col(Host.id) == col(Certificate.host_id))
        .order_by(col(Certificate.created_at))
    )
    # The newest is the one in use.
    for name, moment in dict(session.exec(rows).all()).items():
        _add(family, name, moment.timestamp())
    return family


def _gauge(name: str, text: str, *labels: str, value: float | None = None) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"mailfleet_{name}", text, labels=labels or None, value=value)


def _add(family: GaugeMetricFamily, host: str, value: float | None) -> None:
    if value is not None:
        family.add_metric([host], value)
