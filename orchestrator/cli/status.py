"""``reconcile status``: the fleet's conditions, once or as they change."""

import json
import signal
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack

import rich_click as click
from rich.console import Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from orchestrator import overview
from orchestrator.cli.app import CONVERGED, FAILED, PENDING, App, console, json_option, pass_app
from orchestrator.conditions import Status
from orchestrator.db import reading
from orchestrator.overview import Line

COLOURS = {Status.TRUE: "green", Status.FALSE: "red", Status.UNKNOWN: "yellow"}
#: Seconds between two looks of ``--watch``.
PAUSE = 1.0

View = Callable[[Sequence[Line], Sequence[Line]], None]


@click.command()
@click.option("--all", "everything", is_flag=True, help="Also what holds.")
@click.option("--watch", is_flag=True, help="Go on, showing what changes, until interrupted.")
@click.option("--until-converged", is_flag=True, help="Watch, and end when everything holds.")
@click.option("--timeout", type=click.FloatRange(min=0), help="End watching after SECONDS.")
@json_option
@pass_app
def status(  # noqa: PLR0917 - click passes them by name
    app: App,
    everything: bool,
    watch: bool,
    until_converged: bool,
    timeout: float | None,
    as_json: bool,
) -> int:
    """Show hosts, addresses and domains with their conditions, from the last observation.

    Where `--watch` does not write to a terminal, it prints a line for each transition; with
    `--json`, an object. It ends with the exit code of what holds then.

    Example: `reconcile status --until-converged --timeout 60`
    """
    if not (watch or until_converged):
        return print_status(app, everything=everything, as_json=as_json)
    with ExitStack() as stack:
        view = _view(stack, everything=everything, as_json=as_json)
        return _watch(app, view, until_converged=until_converged, timeout=timeout)


def print_status(app: App, *, everything: bool, as_json: bool) -> int:
    """Print all conditions; gives the exit code that they mean."""
    with reading(app.engine) as session:
        lines = overview.lines(session)
    if as_json:
        click.echo(json.dumps([line.as_dict() for line in lines], indent=2))
    else:
        table = _table(lines, everything=everything)
        if table.row_count:
            console().print(table)
        click.echo(_summary(lines))
    return _exit_code(lines)


def _watch(app: App, view: View, *, until_converged: bool, timeout: float | None) -> int:
    stopped = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopped.set())
    deadline = None if timeout is None else time.monotonic() + timeout
    stamp: tuple[object, ...] = ()
    lines: list[Line] = []
    while True:
        with reading(app.engine) as session:
            if (now := overview.stamp(session)) != stamp:
                before, lines, stamp = lines, overview.lines(session), now
                view(before, lines)
        code = _exit_code(lines)
        late = deadline is not None and time.monotonic() > deadline
        if late or (until_converged and code == CONVERGED) or stopped.wait(PAUSE):
            return code


def _view(stack: ExitStack, *, everything: bool, as_json: bool) -> View:
    out = console()
    if out.is_terminal and not as_json:
        live = stack.enter_context(Live(console=out, auto_refresh=False))

        def redraw(_: Sequence[Line], lines: Sequence[Line]) -> None:
            table = _table(lines, everything=everything)
            # Above the table, whose end a low terminal doesn't show.
            live.update(Group(Text(_summary(lines), "bold"), table), refresh=True)

        return redraw

    def tell(before: Sequence[Line], lines: Sequence[Line]) -> None:
        for change in overview.transitions(before, lines):
            if as_json:
                click.echo(json.dumps(change.as_dict()))
            elif everything or before or change.line.status is not Status.TRUE:
                click.echo(change)

    return tell


def _exit_code(lines: Sequence[Line]) -> int:
    faults = [line for line in lines if line.status is not Status.TRUE and not line.informative]
    if any(line.status is Status.FALSE for line in faults):
        return FAILED
    return PENDING if faults else CONVERGED


def _table(lines: Sequence[Line], *, everything: bool) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False)
    for name in ("", "subject", "condition", "status", "reason", "seen", "what to do"):
        table.add_column(name, overflow="fold")
    for line in lines:
        if everything or line.status is not Status.TRUE:
            table.add_row(
                line.kind,
                line.subject,
                line.type,
                Text(line.status, COLOURS[line.status]),
                line.reason,
                Text(line.message),
                "" if line.status is Status.TRUE else line.remedy,
            )
    return table


def _summary(lines: Sequence[Line]) -> str:
    holding = sum(line.status is Status.TRUE for line in lines)
    return f"{holding} of {len(lines)} conditions hold"
