"""``mailfleet workspaces`` and ``mailboxes``: the tenants."""

import rich_click as click

from orchestrator.cli.app import App, json_option, pass_app, show
from orchestrator.db import reading, writing
from orchestrator.services import logins as login_service
from orchestrator.services import mailboxes as mailbox_service
from orchestrator.services import workspaces as workspace_service


@click.group()
def workspaces() -> None:
    """Tenants."""


@workspaces.command("add")
@click.argument("slug")
@click.option("--name", help="Display name; by default the slug.")
@click.option("--currency", default="usd", show_default=True)
@pass_app
def add_workspace(app: App, slug: str, name: str | None, currency: str) -> None:
    """Make a workspace.

    Example: `mailfleet workspaces add acme --name Acme`
    """
    with writing(app.engine) as session:
        workspace_service.create(session, slug=slug, name=name or slug, currency=currency)
    click.echo(f"made {slug}")


@workspaces.command("list")
@json_option
@pass_app
def list_workspaces(app: App, as_json: bool) -> None:
    """List the workspaces.

    Example: `mailfleet workspaces list`
    """
    with reading(app.engine) as session:
        rows = [{"slug": w.slug, "name": w.name} for w in workspace_service.list_(session)]
    show(rows, as_json=as_json, empty="no workspace")


@click.group()
def mailboxes() -> None:
    """Mailboxes of tenants."""


@mailboxes.command("list")
@click.option("--workspace", required=True, help="The tenant's slug.")
@json_option
@pass_app
def list_mailboxes(app: App, workspace: str, as_json: bool) -> None:
    """List a workspace's mailboxes.

    Example: `mailfleet mailboxes list --workspace acme`
    """
    with reading(app.engine) as session:
        owner = workspace_service.get_by_slug(session, workspace)
        rows = [
            {"email": placed.mailbox.email, "host": placed.host.name, "ip": placed.address.ip}
            for placed in mailbox_service.list_(session, owner)
        ]
    show(rows, as_json=as_json, empty="no mailbox")


@mailboxes.command()
@click.argument("email")
@click.option("--workspace", required=True, help="The tenant's slug.")
@pass_app
def password(app: App, email: str, workspace: str) -> None:
    """Print a mailbox's password, for a mail client.

    Example: `mailfleet mailboxes password alice@acme.com --workspace acme`
    """
    with reading(app.engine) as session:
        owner = workspace_service.get_by_slug(session, workspace)
        placed = mailbox_service.get_by_email(session, owner, email)
        click.echo(app.vault.decrypt(placed.mailbox.password))


@mailboxes.command()
@click.argument("email")
@click.option("--workspace", required=True, help="The tenant's slug.")
@pass_app
def suspend(app: App, email: str, workspace: str) -> None:
    """Let nobody log in to a mailbox, nor send from it; mail to it is kept.

    Example: `mailfleet mailboxes suspend alice@acme.com --workspace acme`
    """
    with writing(app.engine) as session:
        owner = workspace_service.get_by_slug(session, workspace)
        placed = mailbox_service.get_by_email(session, owner, email)
        login_service.suspend(session, owner, placed.mailbox.id)
    click.echo(f"suspended {email}")


@mailboxes.command()
@click.argument("email")
@click.option("--workspace", required=True, help="The tenant's slug.")
@pass_app
def resume(app: App, email: str, workspace: str) -> None:
    """End a mailbox's suspension; its password is what it was.

    Example: `mailfleet mailboxes resume alice@acme.com --workspace acme`
    """
    with writing(app.engine) as session:
        owner = workspace_service.get_by_slug(session, workspace)
        placed = mailbox_service.get_by_email(session, owner, email)
        login_service.resume(session, owner, placed.mailbox.id)
    click.echo(f"resumed {email}")
