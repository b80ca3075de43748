"""``mailfleet addresses``: the pool of dedicated IPs."""

import rich_click as click
from sqlmodel import col, select

from orchestrator.cli.app import App, json_option, pass_app, show
from orchestrator.cli.intake import add
from orchestrator.cli.moves import list_moves, move
from orchestrator.cli.quarantine import check, history, quarantine, release_quarantine, remove
from orchestrator.db import reading, writing
from orchestrator.models import Address, Host, Workspace
from orchestrator.services import addresses as service
from orchestrator.services import hosts, workspaces


@click.group()
def addresses() -> None:
    """The pool of dedicated IPs."""


addresses.add_command(move)
addresses.add_command(list_moves)
addresses.add_command(add)
addresses.add_command(check)
addresses.add_command(quarantine)
addresses.add_command(release_quarantine)
addresses.add_command(remove)
addresses.add_command(history)


@addresses.command()
@click.option("--workspace", required=True, help="The tenant's slug.")
@click.option("--count", default=1, show_default=True)
@click.option("--version", type=click.Choice(["4", "6"]), default="4", show_default=True)
@click.option("--host", "host_name", help="Only of this host.")
@pass_app
def assign(app: App, workspace: str, count: int, version: str, host_name: str | None) -> None:
    """Give free addresses of the pool to a tenant: all of them, or none.

    Example: `mailfleet addresses assign --workspace acme --count 2`
    """
    with writing(app.engine) as session:
        rows = service.assign(
            session,
            workspaces.get_by_slug(session, workspace),
            count=count,
            version=int(version),
            host=hosts.get_by_name(session, host_name) if host_name else None,
        )
        ips = ", ".join(row.ip for row in rows)
    click.echo(f"{workspace} has {ips}")


@addresses.command("list")
@json_option
@pass_app
def list_(app: App, as_json: bool) -> None:
    """List the pool.

    Example: `mailfleet addresses list`
    """
    query = (
        select(Address, Host.name, Workspace.slug)
        .join(Host, col(Host.id) == col(Address.host_id))
        .join(Workspace, col(Workspace.id) == col(Address.workspace_id), isouter=True)
        .order_by(Host.name, Address.ip)
    )
    with reading(app.engine) as session:
        rows = [
            {
                "ip": address.ip,
                "name": address.ptr_name,
                "host": host,
                "state": str(address.state),
                "workspace": workspace,
                "reason": address.quarantine_reason or None,
            }
            for address, host, workspace in session.exec(query)
        ]
    show(rows, as_json=as_json, empty="the pool is empty")
