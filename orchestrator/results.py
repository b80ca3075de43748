"""What came of a pass, and how it is written down."""

import logging
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Literal, get_args
from uuid import UUID

from sqlmodel import Session

from orchestrator.backoff import delay
from orchestrator.conditions import Reason, Status, Type
from orchestrator.hosts.jobs import Outcome
from orchestrator.hosts.probe import Observed
from orchestrator.models import Host, Run
from orchestrator.plan import Plan, explained
from orchestrator.services import conditions

#: What says nothing about the host's configuration, only that it could not be looked at.
UNSEEN = {
    Reason.UNREACHABLE,
    Reason.TIMED_OUT,
    Reason.SSH_KEY_REFUSED,
    Reason.HOST_KEY_CHANGED,
    Reason.BUSY,
}
#: The longest that a host is left in peace because of its load, as a multiple of the interval.
PATIENCE = 4.0

OutcomeName = Literal["unchanged", "applied", "failed", "busy", "paused"]
OUTCOMES: tuple[OutcomeName, ...] = get_args(OutcomeName)
LEVELS: dict[OutcomeName, int] = {"applied": logging.INFO, "failed": logging.WARNING}

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Result:
    """What came of one pass. ``reason`` is None when the host is converged.

    ``requeue_after`` is in seconds; ``plan`` is what differed before the pass; ``timings`` are
    milliseconds by step; ``observed`` is what was seen last. ``run`` is the pass's number in logs
    and history, and ``waited`` how many seconds it began after it was due; both are None where
    there was no pass.
    """

    host: str
    plan: Plan = field(default_factory=Plan)
    reason: Reason | None = None
    message: str = ""
    requeue_after: float = 0.0
    timings: dict[str, float] = field(default_factory=dict)
    observed: Observed | None = None
    run: UUID | None = None
    waited: float | None = None

    @property
    def outcome(self) -> OutcomeName:
        """What came of it, in one word."""
        match self.reason:
            case None:
                return "unchanged" if self.plan.empty else "applied"
            case Reason.BUSY:
                return "busy"
            case Reason.PAUSED:
                return "paused"
            case _:
                return "failed"

    def log(self) -> None:
        """Tell of it; what changed nothing only where everything is wanted."""
        seconds = self.timings.get("total", 0.0) / 1000
        log.log(
            LEVELS.get(self.outcome, logging.DEBUG),
            "pass over %s: %s",
            self.host,
            ": ".join(filter(None, (self.outcome, self.reason, self.message))),
            extra={
                "outcome": self.outcome,
                "changes": len(self.plan.changes),
                "seconds": round(seconds, 3),
            },
        )


def add_run(session: Session, run: Run, plan: Plan, outcome: Outcome) -> Run:
    """Keep what a push did. No secret is in it."""
    run.outcome = "applied" if outcome.reason is None else "failed"
    run.reason = outcome.reason
    run.message = outcome.message or run.message
    run.plan = [change.as_dict() for change in explained(plan, outcome.diffs).changes]
    run.timings = outcome.timings
    session.add(run)
    return run


def record(session: Session, host: Host, result: Result, now: datetime, interval: float) -> Result:
    """Write a pass down: the host's conditions, what was seen of it, and when it is due again.

    :param host: as it was loaded before the pass.
    :param interval: seconds between two looks at a host where nothing changes.
    """
    set_conditions(session, host.id, result)
    row = session.get_one(Host, host.id, with_for_update={"key_share": True})
    row.seen_release_id = host.release_id
    if result.reason is None:
        row.failures = 0
        row.applied_at = host.applied_at
        wait = interval * _patience(result.observed)
    else:
        row.failures += 1
        wait = delay(row.failures)
    # A change that was committed during the pass has asked for another one already.
    if row.due_at <= host.due_at:
        row.due_at = now + timedelta(seconds=wait)
    if (seen := result.observed) is not None:
        row.queue, row.load, row.free_kib = seen.queue, seen.load, seen.free_kib
        row.clock_skew = seen.clock_skew
    _complete_run(session, row, result)
    return replace(result, requeue_after=wait)


def _complete_run(session: Session, host: Host, result: Result) -> None:
    if result.run is None or result.outcome == "unchanged":
        return
    run = session.get(Run, result.run)
    if run is not None:
        run.timings = result.timings
    elif host.failures == 1:
        # It failed before the push, as where nothing answers: told once, not at every attempt.
        owner, outcome = host.lease_owner or "", Outcome(result.reason, result.message, {})
        run = Run(
            id=result.run,
            host_id=host.id,
            generation=host.generation,
            owner=owner,
            outcome="",
        )
        add_run(session, run, result.plan, outcome).timings = result.timings


def _patience(observed: Observed | None) -> float:
    # A host that is busy with its mail is looked at less often. A change never waits.
    return 1.0 if observed is None else min(PATIENCE, max(1.0, observed.load))


def set_conditions(session: Session, host_id: UUID, result: Result) -> None:
    """What a look or a pass says about a host."""
    reason = result.reason or Reason.OBSERVED
    if result.reason in UNSEEN:
        reachable = Status.FALSE if result.reason != Reason.BUSY else Status.TRUE
        converged = Status.UNKNOWN
    else:
        reachable = Status.TRUE
        converged = Status.TRUE if result.reason is None else Status.FALSE
    why = reason if reachable is Status.FALSE else Reason.OBSERVED
    verdicts = {
        Type.REACHABLE: (reachable, why, result.message),
        Type.CONVERGED: (converged, reason, result.message),
    }
    conditions.set_all(session, host_id, verdicts)
