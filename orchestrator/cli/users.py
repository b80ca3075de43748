"""``mailfleet users``: who may sign in to the dashboard, and their tokens."""

import rich_click as click

from orchestrator import secrets
from orchestrator.cli.app import App, json_option, pass_app, show
from orchestrator.db import reading, writing
from orchestrator.models import Workspace
from orchestrator.services import keys, workspaces
from orchestrator.services import users as service

generate_option = click.option(
    "--generate", is_flag=True, help="Make a password and show it this once, instead of asking."
)


@click.group()
def users() -> None:
    """People who sign in to a workspace's dashboard."""


@users.command()
@click.argument("email")
@click.option("--workspace", required=True, help="The tenant's slug.")
@click.option("--name", required=True)
@generate_option
@pass_app
def add(app: App, email: str, workspace: str, name: str, generate: bool) -> None:
    """Let somebody sign in.

    Example: `mailfleet users add ann@acme.com --workspace acme --name Ann --generate`
    """
    password, hashed = _password(generate)
    with writing(app.engine) as session:
        owner = workspaces.get_by_slug(session, workspace)
        service.add(session, owner, email=email, name=name, password_hash=hashed)
    click.echo(password if generate else f"added {email}")


@users.command("list")
@click.option("--workspace", help="The tenant's slug; by default all.")
@json_option
@pass_app
def list_(app: App, workspace: str | None, as_json: bool) -> None:
    """List who may sign in, with the first eight characters of the token of those who have one.

    Example: `mailfleet users list --workspace acme`
    """
    with reading(app.engine) as session:
        owner = workspaces.get_by_slug(session, workspace) if workspace else None
        rows = [
            {
                "email": user.email,
                "name": user.name,
                "workspace": session.get_one(Workspace, user.workspace_id).slug,
                "token": held.hint if (held := keys.of_user(session, user)) else None,
            }
            for user in service.list_(session, owner)
        ]
    show(rows, as_json=as_json, empty="no user")


@users.command()
@click.argument("email")
@generate_option
@pass_app
def password(app: App, email: str, generate: bool) -> None:
    """Give somebody another password.

    Example: `mailfleet users password ann@acme.com`
    """
    plain, hashed = _password(generate)
    with writing(app.engine) as session:
        service.set_password(session, service.get(session, email), hashed)
    click.echo(plain if generate else f"{email} has a new password")


@users.command()
@click.argument("email")
@click.option("--revoke", is_flag=True, help="Only end the one that there is.")
@pass_app
def token(app: App, email: str, revoke: bool) -> None:
    """Make somebody a token for the unMTA API and print it: it is shown this once.

    The one before it ends.

    Example: `mailfleet users token ann@acme.com`
    """
    with writing(app.engine) as session:
        user = service.get(session, email)
        if revoke:
            ended = keys.revoke_of(session, user)
            told = f"the token of {email} has ended" if ended else f"{email} has no token"
        else:
            _, told = keys.create_for(session, user)
    click.echo(told)


@users.command()
@click.argument("email")
@pass_app
def remove(app: App, email: str) -> None:
    """Let somebody sign in no longer; the token ends, too.

    Example: `mailfleet users remove ann@acme.com`
    """
    with writing(app.engine) as session:
        service.remove(session, service.get(session, email))
    click.echo(f"removed {email}")


def _password(generate: bool) -> tuple[str, str]:
    if generate:
        plain = secrets.new_password()
    else:
        plain = click.prompt("Password", hide_input=True, confirmation_prompt=True)
    return plain, service.hash_password(plain)
