"""``mailfleet zones``: the DNS zones that Mailfleet may update."""

from pathlib import Path

import rich_click as click

from orchestrator.cli.app import App, json_option, pass_app, show
from orchestrator.db import reading, writing
from orchestrator.services import workspaces
from orchestrator.services import zones as service


@click.group()
def zones() -> None:
    """The DNS zones that Mailfleet may update (RFC 2136 with TSIG)."""


@zones.command()
@click.argument("name")
@click.option("--server", required=True, help="IP of the zone's primary server.")
@click.option("--port", default=53, show_default=True)
@click.option("--workspace", help="The tenant whose zone it is; without: the fleet's own.")
@click.option("--tsig-name", required=True)
@click.option("--tsig-algorithm", default="hmac-sha256", show_default=True)
@click.option(
    "--tsig-secret-file",
    required=True,
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="File with the secret in base64.",
)
@pass_app
def add(  # noqa: PLR0917 - click passes them by name
    app: App,
    name: str,
    server: str,
    port: int,
    workspace: str | None,
    tsig_name: str,
    tsig_algorithm: str,
    tsig_secret_file: Path,
) -> None:
    """Let Mailfleet publish records in a zone.

    Example: `mailfleet zones add fleet.net --server 198.51.100.52 --tsig-name fleet
    --tsig-secret-file tsig.secret`
    """
    with writing(app.engine) as session:
        service.add(
            session,
            app.vault,
            name=name,
            workspace=workspaces.get_by_slug(session, workspace) if workspace else None,
            server=server,
            port=port,
            tsig_name=tsig_name,
            tsig_algorithm=tsig_algorithm,
            tsig_secret=tsig_secret_file.read_text().strip(),
        )
    click.echo(f"{name} is managed")


@zones.command("list")
@json_option
@pass_app
def list_(app: App, as_json: bool) -> None:
    """List the managed zones.

    Example: `mailfleet zones list`
    """
    with reading(app.engine) as session:
        rows = [
            {
                "name": row.name,
                "server": row.server,
                "key": row.tsig_name,
                "owner": "fleet" if row.workspace_id is None else str(row.workspace_id),
            }
            for row in service.list_(session)
        ]
    show(rows, as_json=as_json, empty="no zone is managed")


@zones.command()
@click.argument("name")
@pass_app
def remove(app: App, name: str) -> None:
    """Stop publishing in a zone; what stands in it stays.

    Example: `mailfleet zones remove fleet.net`
    """
    with writing(app.engine) as session:
        service.remove(session, name)
    click.echo(f"{name} is no longer managed")
