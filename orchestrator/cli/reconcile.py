"""``reconcile``: plan, apply, verify."""

import json
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from uuid import UUID

import rich_click as click
from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress, SpinnerColumn, TimeElapsedColumn
from sqlmodel import select

from orchestrator import passes
from orchestrator.cli.app import CONVERGED, FAILED, PENDING, App, console, json_option, pass_app
from orchestrator.cli.changes import print_changes
from orchestrator.cli.status import print_status
from orchestrator.conditions import REMEDIES
from orchestrator.control import ControlPlane
from orchestrator.db import reading
from orchestrator.models import Host
from orchestrator.results import Result
from orchestrator.services import hosts as host_service

host_option = click.option("--host", "names", multiple=True, help="Only this host (repeatable).")


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
    print_changes(out, result.plan.changes, diffs=diffs)


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
@click.option(
    "--allow-removals",
    is_flag=True,
    help="Once, also remove much of what a host serves that no tenant asked to remove.",
)
@json_option
@pass_app
def apply(app: App, names: tuple[str, ...], yes: bool, allow_removals: bool, as_json: bool) -> int:
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
        settle = partial(passes.settle, control, allow_removals=allow_removals)
        results = _for_each("applying", hosts, settle)
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
@json_option
@pass_app
def verify(app: App, as_json: bool) -> int:
    """Look at everything now: hosts, DNS, PTR, and mail from each address; changes no host.

    Example: `reconcile verify`
    """
    with _control(app) as control:
        control.receive_probes()
        passes.verify(control, _hosts(app, ()))
    return print_status(app, everything=True, as_json=as_json)
