"""``reconcile rollout``: releases of the templates, and how far each is."""

from typing import Any

import rich_click as click
from sqlmodel import Session

from orchestrator.cli.app import CONVERGED, FAILED, PENDING, App, json_option, pass_app, show
from orchestrator.db import reading, writing
from orchestrator.models import Release, ReleaseState
from orchestrator.services import releases


@click.group(invoke_without_command=True)
@json_option
@click.pass_context
def rollout(context: click.Context, as_json: bool) -> int | None:
    """Show the releases of the templates, newest first, and how many hosts have them.

    Exit codes: 0 the newest is on all hosts, 1 it failed, 2 it is on its way.

    Example: `reconcile rollout`
    """
    if context.invoked_subcommand is not None:
        return None
    with reading(context.find_object(App).engine) as session:  # type: ignore[union-attr]
        rows = releases.list_(session)
        shown = [_described(session, row) for row in rows]
    show(shown, as_json=as_json, empty="no host was configured yet")
    match rows[0].state if rows else ReleaseState.DONE:
        case ReleaseState.DONE:
            return CONVERGED
        case ReleaseState.FAILED:
            return FAILED
        case _:
            return PENDING


def _described(session: Session, row: Release) -> dict[str, Any]:
    given, settled, waiting = releases.progress(session, row)
    return {
        "release": row.number,
        "digest": row.digest[:12],
        "state": str(row.state),
        "since": row.since.isoformat(timespec="seconds"),
        "hosts": given,
        "converged": settled,
        "waiting_for": ", ".join(waiting),
        "failed_on": row.failed_host,
        "message": row.message,
    }


@rollout.command()
@pass_app
def retry(app: App) -> None:
    """Try the newest release again after it failed, from the canaries on.

    Example: `reconcile rollout retry`
    """
    with writing(app.engine) as session:
        number = releases.retry(session).number
    click.echo(f"release {number} goes to one host of each Debian again")
