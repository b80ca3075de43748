"""``mailfleet registrations``: domains that are bought for tenants."""

from datetime import UTC, datetime

import rich_click as click

from orchestrator.cli.app import App, json_option, pass_app, show
from orchestrator.db import reading, writing
from orchestrator.services import registrations as service


@click.group()
def registrations() -> None:
    """Domains that are bought for tenants."""


@registrations.command("list")
@json_option
@pass_app
def list_(app: App, as_json: bool) -> None:
    """List them, with what the registrar says.

    Example: `mailfleet registrations list`
    """
    with reading(app.engine) as session:
        rows = [purchase.as_dict() for purchase in service.list_(session)]
    show(rows, as_json=as_json, empty="no domain was bought")


@registrations.command()
@click.argument("name")
@click.option(
    "--expires",
    required=True,
    type=click.DateTime(["%Y-%m-%d"]),
    help="When the registration ends.",
)
@pass_app
def done(app: App, name: str, expires: datetime) -> None:
    """Tell that you have bought, or renewed, a domain by hand.

    Example: `mailfleet registrations done acme.com --expires 2027-04-01`
    """
    with writing(app.engine) as session:
        service.done_by_hand(session, name, expires.replace(tzinfo=UTC))
    click.echo(f"{name} is registered")


@registrations.command()
@click.argument("name")
@click.option("--reason", required=True, help="A line for the tenant.")
@pass_app
def failed(app: App, name: str, reason: str) -> None:
    """Tell that a domain can't be bought.

    Example: `mailfleet registrations failed acme.com --reason "the registry refuses the name"`
    """
    with writing(app.engine) as session:
        service.failed_by_hand(session, name, reason)
    click.echo(f"{name} is not bought")
