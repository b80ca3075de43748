"""``mailfleet domains``: their records, and their DKIM keys."""

from collections.abc import Sequence

import rich_click as click
from sqlmodel import Session

from orchestrator import dkim
from orchestrator.cli.app import CONVERGED, FAILED, App, json_option, pass_app, show
from orchestrator.db import reading, writing
from orchestrator.errors import Conflict
from orchestrator.models import Domain
from orchestrator.services import dkim_rotation
from orchestrator.services import domains as service
from orchestrator.services import workspaces as workspace_service

owner_option = click.option(
    "--workspace", help="The tenant's slug; without it, NAME is the name of a host of ours."
)


@click.group()
def domains() -> None:
    """Domains of tenants, and the names of hosts."""


def _find(session: Session, name: str, workspace: str | None) -> Domain:
    if workspace is None:
        return service.of_host(session, name)
    owner = workspace_service.get_by_slug(session, workspace)
    return service.get_by_name(session, owner, name)


@domains.command()
@click.argument("name")
@owner_option
@json_option
@pass_app
def records(app: App, name: str, workspace: str | None, as_json: bool) -> None:
    """Show the DNS records that a domain needs, to copy where its zone is not managed.

    Example: `mailfleet domains records acme.com --workspace acme`
    """
    with reading(app.engine) as session:
        domain = _find(session, name, workspace)
        rows = [
            {"for": str(r.purpose), "type": r.type, "name": r.name, "value": r.value}
            for r in service.expected_records(session, app.settings, domain)
        ]
    show(rows, as_json=as_json)


@domains.command("dkim")
@click.argument("name")
@owner_option
@json_option
@pass_app
def dkim_keys(app: App, name: str, workspace: str | None, as_json: bool) -> None:
    """Show a domain's DKIM keys: the state of each, since when, and what it waits for.

    Example: `mailfleet domains dkim acme.com --workspace acme`
    """
    with reading(app.engine) as session:
        domain = _find(session, name, workspace)
        rows = [
            {
                "selector": key.selector,
                "state": str(key.state),
                "since": key.since.isoformat(timespec="seconds"),
                "waits for": key.waiting_for,
            }
            for key in dkim_rotation.status(session, app.settings, domain)
        ]
    show(rows, as_json=as_json)


@domains.command("rotate-dkim")
@click.argument("name", required=False)
@owner_option
@click.option("--all", "everything", is_flag=True, help="All domains, of the workspace if given.")
@pass_app
def rotate_dkim(app: App, name: str | None, workspace: str | None, everything: bool) -> int:
    """Begin the rotation of a domain's DKIM key; the reconciler carries it through.

    The new key signs once its record has been seen for a TTL. The old record stays after that.

    Example: `mailfleet domains rotate-dkim acme.com --workspace acme`
    """
    if everything == (name is not None):
        raise click.UsageError("give either NAME or --all")
    with reading(app.engine) as session:
        chosen: Sequence[Domain]
        if name is not None:
            chosen = [_find(session, name, workspace)]
        elif workspace is not None:
            chosen = service.list_(session, workspace_service.get_by_slug(session, workspace))
        else:
            chosen = service.all_living(session)
    done = [_rotate(app, domain) for domain in chosen]
    return CONVERGED if all(done) else FAILED


def _rotate(app: App, domain: Domain) -> bool:
    pair = dkim.generate()
    try:
        with writing(app.engine) as session:
            row = session.get_one(Domain, domain.id)
            key = dkim_rotation.add(session, app.vault, row, pair)
    except Conflict as error:
        click.echo(f"{domain.name}: {error}", err=True)
        return False
    click.echo(f"{domain.name}: {key.selector} is published and signs once it has been seen")
    return True
