"""``reconcile``: plan, apply, status, verify, run."""

import json
import logging
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from uuid import UUID

import rich_click as click
from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress, SpinnerColumn, TimeElapsedColumn
from rich.table import Table
from sqlmodel import select

from orchestrator import duties, overview, passes
from orchestrator.cli.app import CONVERGED, FAILED, PENDING, App, console, json_option, pass_app
from orchestrator.conditions import REMEDIES, Status
from orchestrator.control import ControlPlane
from orchestrator.db import reading
from orchestrator.models import Host
from orchestrator.plan import Action
from orchestrator.results import Result
from orchestrator.scheduler import Scheduler
from orchestrator.services import hosts as host_service

host_option = click.option("--host", "names", multiple=True, help="Only this host (repeatable).")

MARKS = {
    Action.CREATE: ("+", "green"),
    Action.INSTALL: ("+", "green"),
    Action.UPDATE: ("~", "yellow"),
    Action.DELETE: ("-", "red"),
    Action.RELOAD: ("*", "cyan"),
    Action.START: ("*", "cyan"),
}
COLOURS = {Status.TRUE: "green", Status.FALSE: "red", Status.UNKNOWN: "yellow"}


@contextmanager
def _control(app: App) -> Iterator[ControlPlane]:
    with ControlPlane(app.engine, app.settings, app.vault) as control:
        yield control


def _hosts(app: App, names: Sequence[str]) -> list[UUID]:
    with reading(app.engine) as session:
        if names:
            return [host_service.get_by_name(session, name).id for name in names]
        return list(session.exec(select(Host.id).order_by(Host.name)))


def _for_each(what: str, hosts: Sequence[UUID], work: Callable[[UUID], Result]) -> list[Result]:
    err = Console(stderr=True, highlight=False)
    columns = (SpinnerColumn(), "{task.description}", MofNCompleteColumn(), TimeElapsedColumn())
    bar = Progress(*columns, console=err, transient=True, disable=not err.is_terminal)
    with bar, ThreadPoolExecutor(max_workers=16) as threads:
        task = bar.add_task(what, total=len(hosts))

        def one(host: UUID) -> Result:
            result = work(host)
            bar.advance(task)
            if not err.is_terminal:
                err.print(f"{what}: {result.host} done")
            return result

        return list(threads.map(one, hosts))


def _print_plan(result: Result, *, diffs: bool) -> None:
    out = console()
    if result.reason is not None:
        out.print(f"[bold]{result.host}[/bold]: [red]{result.reason}[/red]: {result.message}")
        out.print(f"  {REMEDIES[result.reason]}")
        return
    if result.plan.empty:
        out.print(f"[bold]{result.host}[/bold]: nothing to do")
        return
    out.print(f"[bold]{result.host}[/bold]: {len(result.plan.changes)} changes")
    for change in result.plan.changes:
        mark, colour = MARKS[change.action]
        why = f"  ({change.why})" if change.why else ""
        out.print(f"  [{colour}]{mark} {change.action} {change.subject}[/{colour}]{why}")
        if diffs and change.diff:
            out.print("\n".join(f"      {line}" for line in change.diff.splitlines()), markup=False)


def _as_dict(result: Result) -> dict[str, object]:
    return {
        "host": result.host,
        "reason": result.reason,
        "message": result.message,
        "remedy": REMEDIES[result.reason] if result.reason else None,
        "changes": [change.as_dict() for change in result.plan.changes],
        "timings_ms": result.timings,
    }


@click.command()
@host_option
@json_option
@pass_app
def plan(app: App, names: tuple[str, ...], as_json: bool) -> int:
    """Show what differs on each host, file by file; changes nothing.

    Example: `reconcile plan --host mx1`
    """
    with _control(app) as control:
        results = _for_each("looking", _hosts(app, names), control.reconciler.plan)
    if as_json:
        click.echo(json.dumps([_as_dict(result) for result in results], indent=2))
    else:
        for result in results:
            _print_plan(result, diffs=True)
    if any(result.reason is not None for result in results):
        return FAILED
    return CONVERGED if all(result.plan.empty for result in results) else PENDING


@click.command()
@host_option
@click.option("--yes", is_flag=True, help="Do not ask before changing hosts.")
@json_option
@pass_app
def apply(app: App, names: tuple[str, ...], yes: bool, as_json: bool) -> int:
    """Make the hosts be what the database says.

    Example: `reconcile apply --host mx1 --yes`
    """
    hosts = _hosts(app, names)
    with _control(app) as control:
        if not yes:
            planned = _for_each("looking", hosts, partial(control.reconciler.plan, diffs=False))
            for result in planned:
                _print_plan(result, diffs=False)
            if any(not result.plan.empty for result in planned):
                click.confirm("Change these hosts?", abort=True, err=True)
        results = _for_each("applying", hosts, partial(passes.settle, control))
    if as_json:
        click.echo(json.dumps([_as_dict(result) for result in results], indent=2))
    else:
        for result in results:
            _print_outcome(result)
    return FAILED if any(result.reason is not None for result in results) else CONVERGED


def _print_outcome(result: Result) -> None:
    took = f"{result.timings.get('total', 0) / 1000:.2f} s"
    if result.reason is not None:
        _print_plan(result, diffs=False)
    elif result.plan.empty:
        console().print(f"[bold]{result.host}[/bold]: nothing to do ({took})")
    else:
        changed = len(result.plan.changes)
        console().print(f"[bold]{result.host}[/bold]: converged, {changed} changes ({took})")


@click.command()
@click.option("--all", "everything", is_flag=True, help="Also what holds.")
@json_option
@pass_app
def status(app: App, everything: bool, as_json: bool) -> int:
    """Show hosts, addresses and domains with their conditions, from the last observation.

    Example: `reconcile status --all`
    """
    return _print_status(app, everything=everything, as_json=as_json)


def _print_status(app: App, *, everything: bool, as_json: bool) -> int:
    with reading(app.engine) as session:
        lines = overview.lines(session)
    if as_json:
        click.echo(json.dumps([line.as_dict() for line in lines], indent=2))
    else:
        _print_lines(lines, everything=everything)
    faults = [line for line in lines if line.status is not Status.TRUE and not line.informative]
    if any(line.status is Status.FALSE for line in faults):
        return FAILED
    return PENDING if faults else CONVERGED


def _print_lines(lines: list[overview.Line], *, everything: bool) -> None:
    table = Table(box=None, header_style="bold", pad_edge=False)
    for name in ("", "subject", "condition", "status", "reason", "seen", "what to do"):
        table.add_column(name, overflow="fold")
    for line in lines:
        if everything or line.status is not Status.TRUE:
            colour = COLOURS[line.status]
            table.add_row(
                line.kind,
                line.subject,
                line.type,
                f"[{colour}]{line.status}[/{colour}]",
                line.reason,
                line.message,
                "" if line.status is Status.TRUE else line.remedy,
            )
    holding = sum(line.status is Status.TRUE for line in lines)
    if table.row_count:
        console().print(table)
    click.echo(f"{holding} of {len(lines)} conditions hold")


@click.command()
@json_option
@pass_app
def verify(app: App, as_json: bool) -> int:
    """Look at everything now: hosts, DNS, PTR, and mail from each address; changes no host.

    Example: `reconcile verify`
    """
    with _control(app) as control:
        control.receive_probes()
        passes.verify(control, _hosts(app, ()))
    return _print_status(app, everything=True, as_json=as_json)


@click.command()
@pass_app
def run(app: App) -> None:
    """Keep everything converged until interrupted.

    Example: `reconcile run`
    """
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    # These log every wake-up and every connection.
    for noisy in ("alembic", "apscheduler", "paramiko", "mail.log"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    log = logging.getLogger("mailfleet")

    def report(result: Result) -> None:
        if result.reason is None and result.plan.empty:
            return
        outcome = result.reason or "converged"
        changes = len(result.plan.changes)
        log.info("%s: %s, %d changes. %s", result.host, outcome, changes, result.message)

    stopped = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopped.set())
    with _control(app) as control:
        control.receive_probes()
        works = duties.works(control, report)
        scheduler = Scheduler(app.engine, works, duties.chores(control))
        scheduler.start()
        log.info("reconciling")
        stopped.wait()
        scheduler.close()


reconcile_commands = (plan, apply, status, verify, run)
