"""What one reconciler does, counted for Prometheus; all of it is counted here.

Names follow https://prometheus.io/docs/practices/naming/. What the whole fleet is, whoever
looks after it, is in ``census`` and comes from the database.
"""

import logging
from collections.abc import Iterator
from types import TracebackType
from typing import Self
from wsgiref.simple_server import WSGIServer

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    start_http_server,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from orchestrator.dns.verification import Observation
from orchestrator.fleet import Fleet
from orchestrator.plan import Action
from orchestrator.results import OUTCOMES, Result

log = logging.getLogger(__name__)

#: Seconds: from a look over a warm connection to the bootstrap of a bare host.
SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)
SIZES = (1, 2, 5, 10, 25, 50, 100, 250, 1000)
#: Step names come from hosts: more than these are counted together.
MOST_STEPS = 32

# They double the series and tell only when the process began.
disable_created_metrics()  # type: ignore[no-untyped-call]


class Metrics:
    """The figures of one process. ``done`` is the observer of its ``Scheduler``."""

    def __init__(self, fleet: Fleet) -> None:
        self.registry = CollectorRegistry()
        self._steps_known: set[str] = set()
        self.passes = self._counter("passes", "Passes over hosts, by what came of them.", "outcome")
        self.failures = self._counter("pass_failures", "Passes that failed, by reason.", "reason")
        self.seconds = self._histogram("pass_duration_seconds", "Length of passes.", "outcome")
        self.waited = self._histogram(
            "pass_wait_seconds", "From when a host was due (a change makes it so) to its pass."
        )
        self.plans = self._histogram(
            "plan_changes", "Size of the plans that were not empty.", buckets=SIZES
        )
        self.changes = self._counter("changes", "Changes that came into force.", "action")
        self.steps = self._histogram("step_duration_seconds", "Length of a pass's steps.", "step")
        self.dns = self._counter(
            "dns_checks", "Records looked at in DNS, by what was seen.", "purpose", "status"
        )
        self.work = self._histogram(
            "work_duration_seconds", "Length of all that comes due, by kind.", "kind"
        )
        self.defects = self._counter("defects", "Errors that nothing expected, by kind.", "kind")
        for outcome in OUTCOMES:
            self.passes.labels(outcome)
        for action in Action:
            self.changes.labels(action)
        self.registry.register(_Connections(fleet))
        ProcessCollector(registry=self.registry)

    def done(self, kind: str, result: object, seconds: float) -> None:
        """Count something that came due and was done.

        :param result: what it gave back, or the exception that ended it.
        :param seconds: how long it took.
        """
        self.work.labels(kind).observe(seconds)
        match result:
            case Result():
                self._passed(result)
            case Exception():
                self.defects.labels(kind).inc()
            case list():
                for seen in result:
                    if isinstance(seen, Observation):
                        self.dns.labels(seen.purpose, seen.status).inc()

    def _passed(self, result: Result) -> None:
        self.passes.labels(result.outcome).inc()
        if result.outcome == "failed":
            self.failures.labels(result.reason).inc()
        if result.waited is not None:
            self.waited.observe(result.waited)
        if not result.plan.empty:
            self.plans.observe(len(result.plan.changes))
        if result.outcome == "applied":
            for change in result.plan.changes:
                self.changes.labels(change.action).inc()
        for step, milliseconds in result.timings.items():
            if step == "total":
                self.seconds.labels(result.outcome).observe(milliseconds / 1000)
            else:
                self.steps.labels(self._bounded(step)).observe(milliseconds / 1000)

    def _bounded(self, step: str) -> str:
        if step not in self._steps_known and len(self._steps_known) >= MOST_STEPS:
            return "other"
        self._steps_known.add(step)
        return step

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(f"mailfleet_{name}", text, labels, registry=self.registry)

    def _histogram(
        self, name: str, text: str, *labels: str, buckets: tuple[float, ...] = SECONDS
    ) -> Histogram:
        return Histogram(f"mailfleet_{name}", text, labels, registry=self.registry, buckets=buckets)


class _Connections(Collector):
    """What the fleet's connections and workers know of themselves, read when asked."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet

    def collect(self) -> Iterator[Metric]:
        """The figures of this moment."""
        pool = self._fleet.pool
        yield GaugeMetricFamily(
            "mailfleet_pushes_in_flight", "Pushes under way.", value=self._fleet.pushing
        )
        yield CounterMetricFamily(
            "mailfleet_ssh_round_trips", "Commands run on hosts.", value=pool.round_trips
        )
        yield CounterMetricFamily(
            "mailfleet_ssh_logins", "Connections opened to hosts.", value=pool.logins
        )


class Listener:
    """Answers Prometheus while the block lasts, where an address is given."""

    def __init__(self, registry: CollectorRegistry, address: tuple[str, int] | None) -> None:
        self._registry = registry
        self._address = address
        self._server: WSGIServer | None = None

    def __enter__(self) -> Self:
        if self._address is not None:
            host, port = self._address
            try:
                self._server, _ = start_http_server(port, host, self._registry)
            except OSError as error:
                # Another reconciler of this machine has it; that is no reason not to reconcile.
                log.warning("no metrics are served at %s:%d: %s", host, port, error.strerror)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
