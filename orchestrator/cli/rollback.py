"""``reconcile rollback``: an earlier generation's files in force again, by an operator's order."""

import json

import rich_click as click

from orchestrator import passes
from orchestrator.cli.app import CONVERGED, FAILED, App, json_option, pass_app
from orchestrator.conditions import REMEDIES
from orchestrator.control import ControlPlane
from orchestrator.db import reading
from orchestrator.services import hosts


@click.command()
@click.argument("host")
@click.option(
    "--to", "generation", type=click.IntRange(min=1), required=True, help="As `history` shows it."
)
@json_option
@pass_app
def rollback(app: App, host: str, generation: int, as_json: bool) -> int:
    """Put a host's files of an earlier generation into force again, and pause the host.

    The host keeps what its last twenty generations replaced. It is validated, smoke-tested and
    taken back like any other push. `mailfleet hosts resume` makes the present wishes prevail.

    Example: `reconcile rollback mx1 --to 41`
    """
    with reading(app.engine) as session:
        host_id = hosts.get_by_name(session, host).id
    with ControlPlane(app.engine, app.settings, app.vault) as control:
        result = passes.roll_back(control, host_id, generation)
    if as_json:
        report = {"host": host, "reason": result.reason, "message": result.message}
        click.echo(json.dumps(report, indent=2))
    elif result.reason is None:
        click.echo(f"{host}: {result.message}; it is paused until `mailfleet hosts resume {host}`")
    else:
        click.echo(f"{host}: {result.reason}: {result.message}\n  {REMEDIES[result.reason]}")
    return CONVERGED if result.reason is None else FAILED
