"""What passes changed or failed to change."""

from collections.abc import Sequence
from typing import Annotated, Any

import msgspec
from litestar import get
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath, FromQuery, QueryParameter

from api.core import Core
from orchestrator.conditions import REMEDIES
from orchestrator.db import reading
from orchestrator.models import Run
from orchestrator.services import runs


class ChangeView(msgspec.Struct, rename="camel"):
    """One change; ``diff`` is unified, and says so where contents are secret."""

    action: str
    subject: str
    why: str
    diff: str


class RunSummary(msgspec.Struct, rename="camel", kw_only=True):
    """One pass over one host; ``generation`` is what a rollback takes."""

    id: str
    host: str
    at: str
    generation: int
    owner: str
    outcome: str
    reason: str | None
    message: str
    remedy: str | None
    changes: int


class RunView(RunSummary, kw_only=True):
    """The same, with what it changed and how many milliseconds each step took."""

    plan: list[ChangeView]
    timings_ms: dict[str, float]


class RunsAnswer(msgspec.Struct):
    """The answer of ``GET /runs``."""

    data: list[RunSummary]


class RunAnswer(msgspec.Struct):
    """The answer of ``GET /runs/{id}``."""

    data: RunView


def handlers(core: Core) -> Sequence[HTTPRouteHandler]:
    """The routes of the history."""

    @get("/runs", sync_to_thread=True)
    def list_runs(
        host: FromQuery[str | None] = None,
        limit: Annotated[int, QueryParameter(ge=1, le=runs.MOST)] = 50,
    ) -> RunsAnswer:
        """The latest runs, newest first."""
        with reading(core.engine) as session:
            rows = runs.list_(session, host=host, limit=limit)
        return RunsAnswer([RunSummary(**_summary(run, name)) for run, name in rows])

    @get("/runs/{run_id:str}", sync_to_thread=True)
    def get_run(run_id: FromPath[str]) -> RunAnswer:
        """One run, by its id or the beginning of it."""
        with reading(core.engine) as session:
            run, name = runs.get(session, run_id)
        plan = msgspec.convert(run.plan, list[ChangeView])
        return RunAnswer(RunView(**_summary(run, name), plan=plan, timings_ms=run.timings))

    return [list_runs, get_run]


def _summary(run: Run, host: str) -> dict[str, Any]:
    return {
        "id": str(run.id),
        "host": host,
        "at": run.created_at.isoformat(),
        "generation": run.generation,
        "owner": run.owner,
        "outcome": run.outcome,
        "reason": run.reason,
        "message": run.message,
        "remedy": REMEDIES[run.reason] if run.reason else None,
        "changes": len(run.plan),
    }
