"""reconcile(host): look at what is wanted and at the host, and make them the same.

Level-triggered: it is never told what happened, may be killed anywhere, and simply runs again.
"""

import time
from dataclasses import dataclass, field
from datetime import timedelta
from uuid import UUID

from sqlalchemy import Engine
from sqlmodel import Session

from orchestrator.backoff import delay
from orchestrator.conditions import Reason, Status, Type
from orchestrator.db import reading, writing
from orchestrator.errors import NotFound
from orchestrator.fleet import Fleet, HostState
from orchestrator.hosts.errors import HostError
from orchestrator.hosts.jobs import Outcome
from orchestrator.leases import Leases
from orchestrator.models import Host, Run, utcnow
from orchestrator.plan import Plan
from orchestrator.secrets import Vault
from orchestrator.services import certificates, conditions
from orchestrator.settings import Settings
from orchestrator.tls import Authority

#: What says nothing about the host's configuration, only that it could not be looked at.
UNSEEN = {
    Reason.UNREACHABLE,
    Reason.TIMED_OUT,
    Reason.SSH_KEY_REFUSED,
    Reason.HOST_KEY_CHANGED,
    Reason.BUSY,
}


@dataclass(frozen=True)
class Result:
    """What came of one pass. ``reason`` is None when the host is converged.

    ``requeue_after`` is in seconds; ``plan`` is what differed before the pass.
    """

    host: str
    plan: Plan = field(default_factory=Plan)
    reason: Reason | None = None
    message: str = ""
    requeue_after: float = 0.0
    timings: dict[str, float] = field(default_factory=dict)


class Reconciler:
    """Makes hosts converge; one instance may serve many threads."""

    def __init__(self, engine: Engine, settings: Settings, vault: Vault, fleet: Fleet) -> None:
        self._engine = engine
        self._settings = settings
        self._vault = vault
        self._fleet = fleet
        self._authority = Authority(settings.ca_file, settings.ca_key_file)
        self._leases = Leases(engine, settings.lease_seconds)

    def close(self) -> None:
        """Give up renewing leases."""
        self._leases.close()

    def plan(self, host_id: UUID, *, diffs: bool = True) -> Result:
        """What a pass would change; changes nothing.

        Conditions of the host are not touched; the answer carries the reason when the host
        can't be looked at.
        """
        host = self._load(host_id)
        try:
            state = self._look(host)
            plan = self._fleet.explain(host, state) if diffs else state.plan
        except HostError as error:
            return Result(host.name, reason=error.reason, message=str(error))
        return Result(host.name, plan)

    def reconcile(self, host_id: UUID) -> Result:
        """One pass over one host, under its lease.

        :returns: what was found and done; errors of the host are in it, not raised.
        :raises NotFound: when there is no such host.
        """
        host = self._load(host_id)
        if host.paused:
            return Result(host.name, reason=Reason.PAUSED, message="the host is paused")
        with self._leases.hold(host_id) as held:
            if not held:
                return Result(host.name, reason=Reason.BUSY, message="another pass holds it")
            started = time.monotonic()
            host = self._load(host_id)
            result = self._pass(host)
            return self._record(host, result, time.monotonic() - started)

    def _pass(self, host: Host) -> Result:
        plan = Plan()
        try:
            state = self._look(host)
            plan = state.plan
            timings = {} if plan.empty else self._push(host, state)
        except HostError as error:
            return Result(host.name, plan, error.reason, str(error))
        return Result(host.name, plan, timings=timings)

    def observe(self, host_id: UUID) -> Result:
        """Look at a host and write down its conditions; changes nothing on it."""
        result = self.plan(host_id, diffs=False)
        if result.reason is None and not result.plan.empty:
            subjects = ", ".join(change.subject for change in result.plan.changes[:5])
            text = f"{len(result.plan.changes)} differences: {subjects}"
            result = Result(result.host, result.plan, Reason.DRIFTED, text)
        with writing(self._engine) as session:
            _set_conditions(session, host_id, result)
        return result

    def _load(self, host_id: UUID) -> Host:
        with reading(self._engine) as session:
            host = session.get(Host, host_id)
            if host is None:
                raise NotFound("there is no such host")
            session.expunge(host)
            return host

    def _look(self, host: Host) -> HostState:
        """What is wanted now, and what is there. ``host.applied_at`` becomes that moment."""
        if host.os is None:
            host.os = self._fleet.identify(host)
            with writing(self._engine) as session:
                session.merge(host)
        # Before the write, which waits for any change under way: what is older is in the spec.
        host.applied_at = utcnow()
        with writing(self._engine) as session:
            certificates.ensure(session, self._vault, self._authority, host)
            templates = self._fleet.templates(session, host)
        with reading(self._engine) as session:
            spec = self._fleet.spec(session, host)
        return self._fleet.look(host, spec, templates)

    def _push(self, host: Host, state: HostState) -> dict[str, float]:
        # The number is used up before it is sent: a pass that dies can't leave it to another.
        with writing(self._engine) as session:
            row = session.get_one(Host, host.id)
            row.generation = max(row.generation, state.observed.generation) + 1
            generation = row.generation
        outcome = self._fleet.push(host, state, generation)
        self._keep_run(host, state.plan, generation, outcome)
        if outcome.reason is not None:
            raise HostError(outcome.reason, outcome.message)
        after = self._fleet.look(host, state.spec, state.templates)
        if not after.plan.empty:
            left = ", ".join(f"{c.subject} {c.why}" for c in after.plan.changes[:5])
            raise HostError(Reason.DRIFTED, f"still different after the push: {left}")
        return outcome.timings

    def _keep_run(self, host: Host, plan: Plan, generation: int, outcome: Outcome) -> None:
        with writing(self._engine) as session:
            session.add(
                Run(
                    host_id=host.id,
                    generation=generation,
                    outcome="applied" if outcome.reason is None else "failed",
                    reason=outcome.reason,
                    message=outcome.message,
                    plan=[change.as_dict() for change in plan.changes],
                    timings=outcome.timings,
                )
            )

    def _record(self, host: Host, result: Result, seconds: float) -> Result:
        now = utcnow()
        with writing(self._engine) as session:
            row = session.get_one(Host, host.id)
            row.seen_release_id = host.release_id
            if result.reason is None:
                row.failures = 0
                row.applied_at = host.applied_at
                wait = self._settings.probe_interval
            else:
                row.failures += 1
                wait = delay(row.failures)
            # A change that was committed during the pass has asked for another one already.
            if row.due_at <= host.due_at:
                row.due_at = now + timedelta(seconds=wait)
            _set_conditions(session, host.id, result)
        timings = {**result.timings, "total": round(seconds * 1000, 1)}
        return Result(host.name, result.plan, result.reason, result.message, wait, timings)


def _set_conditions(session: Session, host_id: UUID, result: Result) -> None:
    reason = result.reason or Reason.OBSERVED
    if result.reason in UNSEEN:
        reachable = Status.FALSE if result.reason != Reason.BUSY else Status.TRUE
        converged = Status.UNKNOWN
    else:
        reachable = Status.TRUE
        converged = Status.TRUE if result.reason is None else Status.FALSE
    why = reason if reachable is Status.FALSE else Reason.OBSERVED
    conditions.set_(session, host_id, Type.REACHABLE, reachable, why, result.message)
    conditions.set_(session, host_id, Type.CONVERGED, converged, reason, result.message)
