"""``reconcile history`` and ``reconcile show``: what passes did."""

import json
from typing import Any

import rich_click as click
from rich.table import Table
from rich.text import Text

from orchestrator.cli.app import App, console, json_option, pass_app, show
from orchestrator.cli.changes import print_changes
from orchestrator.conditions import REMEDIES
from orchestrator.db import reading
from orchestrator.models import Run
from orchestrator.plan import Action, Change
from orchestrator.services import runs

#: As much of an id as tells runs apart: its millisecond and twelve bits more.
SHORT = 18


@click.command()
@click.argument("host")
@click.option("--limit", default=20, show_default=True, help="As many at most.")
@json_option
@pass_app
def history(app: App, host: str, limit: int, as_json: bool) -> None:
    """List what passes over HOST changed or failed to change, newest first.

    Its generations are what `reconcile rollback` takes.

    Example: `reconcile history mx1`
    """
    with reading(app.engine) as session:
        rows = runs.list_(session, host=host, limit=limit)
    if as_json:
        click.echo(json.dumps([_as_dict(run, name) for run, name in rows], indent=2))
    else:
        show([_row(run) for run, _ in rows], as_json=False, empty="nothing was changed yet")


@click.command("show")
@click.argument("run")
@json_option
@pass_app
def show_run(app: App, run: str, as_json: bool) -> None:
    """Show one run: what it changed, line by line, and how long each step took.

    RUN is its id, or the first characters of it.

    Example: `reconcile show 019ab3c4-5d6e-7f80`
    """
    with reading(app.engine) as session:
        row, host = runs.get(session, run)
    if as_json:
        changes = {"plan": row.plan, "timings_ms": row.timings}
        click.echo(json.dumps(_as_dict(row, host) | changes, indent=2))
    else:
        _print(row, host)


def _as_dict(run: Run, host: str) -> dict[str, Any]:
    return {
        "run": str(run.id),
        "host": host,
        "at": run.created_at.isoformat(),
        "generation": run.generation,
        "owner": run.owner,
        "outcome": run.outcome,
        "reason": run.reason,
        "message": run.message,
        "changes": len(run.plan),
    }


def _row(run: Run) -> dict[str, Any]:
    message = run.message.partition("\n")[0]
    return {
        "run": str(run.id)[:SHORT],
        "at": run.created_at.strftime("%Y-%m-%d %H:%M:%SZ"),
        "generation": run.generation,
        "outcome": run.outcome,
        "changes": len(run.plan),
        "why": ": ".join(filter(None, (run.reason, message))),
    }


def _print(run: Run, host: str) -> None:
    out = console()
    grid = Table.grid(padding=(0, 2))
    about = _as_dict(run, host)
    if run.reason is not None:
        about["remedy"] = REMEDIES[run.reason]
    for name, value in about.items():
        if value not in (None, ""):
            grid.add_row(Text(name, "bold"), Text(str(value)))
    out.print(grid)
    print_changes(out, map(_change, run.plan), diffs=True)
    if run.timings:
        steps = Table("step", "ms", box=None, header_style="bold", pad_edge=False)
        steps.columns[1].justify = "right"
        for name, milliseconds in run.timings.items():
            steps.add_row(Text(name), f"{milliseconds:.0f}")
        out.print(steps)


def _change(stored: dict[str, Any]) -> Change:
    return Change(Action(stored["action"]), stored["subject"], stored["why"], stored["diff"])
