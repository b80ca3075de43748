"""``mailfleet billing``: what tenants are charged for."""

import rich_click as click

from orchestrator import payments
from orchestrator.cli.app import App, json_option, pass_app, show
from orchestrator.db import reading
from orchestrator.errors import Conflict
from orchestrator.services import billing as service
from orchestrator.services import workspaces


@click.group()
def billing() -> None:
    """What tenants are charged for at the payment service."""


@billing.command("list")
@json_option
@pass_app
def list_(app: App, as_json: bool) -> None:
    """List the tenants' accounts: how they stand, and what is charged for.

    Example: `mailfleet billing list`
    """
    rows = []
    with reading(app.engine) as session:
        for account, workspace in service.accounts(session):
            wanted = service.quantities(session, workspace.id)
            rows.append(
                {
                    "workspace": workspace.slug,
                    "customer": account.customer,
                    "standing": account.standing.value,
                    "charged": {kind: n for kind, (_, n) in account.subscriptions.items()},
                    "differs": service.differences(account, wanted),
                    "failure": account.message,
                }
            )
    show(rows, as_json=as_json, empty="no workspace has an account")


@billing.command()
@click.argument("workspace")
@pass_app
def sync(app: App, workspace: str) -> None:
    """Have a tenant charged for what it has now, instead of when its turn comes.

    Example: `mailfleet billing sync acme`
    """
    with reading(app.engine) as session:
        row = service.account(session, workspaces.get_by_slug(session, workspace))
    if row is None:
        raise Conflict(f"{workspace} has no account at the payment service")
    payments.from_settings(app.engine, app.settings).settle(row.id)
    with reading(app.engine) as session:
        after = session.get_one(type(row), row.id)
        if after.message:
            raise Conflict(after.message)
        click.echo(f"{workspace} is charged for {after.subscriptions}: {after.standing.value}")
