"""``mailfleet workspaces``, ``keys`` and ``mailboxes``: the tenants."""

from uuid import UUID

import rich_click as click
from sqlmodel import Session

from orchestrator.cli.app import App, json_option, pass_app, show
from orchestrator.db import reading, writing
from orchestrator.errors import NotFound
from orchestrator.models import Workspace
from orchestrator.services import keys as key_service
from orchestrator.services import logins as login_service
from orchestrator.services import mailboxes as mailbox_service
from orchestrator.services import workspaces as workspace_service
from orchestrator.services.mailboxes import Placed


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
def keys() -> None:
    """API keys."""


@keys.command("create")
@click.option("--workspace", required=True, help="The tenant's slug.")
@click.option("--name", default="cli", show_default=True, help="To recognise it by.")
@pass_app
def create_key(app: App, workspace: str, name: str) -> None:
    """Make an API key and print it: it is shown this once.

    Example: `mailfleet keys create --workspace acme`
    """
    with writing(app.engine) as session:
        _, token = key_service.create(
            session, workspace_service.get_by_slug(session, workspace), name
        )
    click.echo(token)


@keys.command("list")
@click.option("--workspace", required=True, help="The tenant's slug.")
@json_option
@pass_app
def list_keys(app: App, workspace: str, as_json: bool) -> None:
    """List a workspace's keys.

    Example: `mailfleet keys list --workspace acme`
    """
    with reading(app.engine) as session:
        owner = workspace_service.get_by_slug(session, workspace)
        rows = [
            {"id": k.id, "name": k.name, "begins": k.hint, "revoked": k.revoked_at}
            for k in key_service.list_(session, owner)
        ]
    show(rows, as_json=as_json, empty="no key")


@keys.command("revoke")
@click.argument("key_id", type=click.UUID)
@click.option("--workspace", required=True, help="The tenant's slug.")
@pass_app
def revoke_key(app: App, key_id: UUID, workspace: str) -> None:
    """Revoke a key; it is refused from now on.

    Example: `mailfleet keys revoke 0192f… --workspace acme`
    """
    with writing(app.engine) as session:
        owner = workspace_service.get_by_slug(session, workspace)
        key_service.revoke(session, owner, key_id)
    click.echo("revoked")


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
        _, placed = _find(session, workspace, email)
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
        owner, placed = _find(session, workspace, email)
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
        owner, placed = _find(session, workspace, email)
        login_service.resume(session, owner, placed.mailbox.id)
    click.echo(f"resumed {email}")


def _find(session: Session, workspace: str, email: str) -> tuple[Workspace, Placed]:
    owner = workspace_service.get_by_slug(session, workspace)
    held = {placed.mailbox.email: placed for placed in mailbox_service.list_(session, owner)}
    if email not in held:
        raise NotFound(f"{workspace} has no mailbox {email}")
    return owner, held[email]
