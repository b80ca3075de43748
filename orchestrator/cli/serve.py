"""``mailfleet serve`` and ``mailfleet db``."""

import rich_click as click

from api.app import serve as serve_api
from orchestrator import db as database
from orchestrator.cli.app import App, pass_app
from orchestrator.installation import copying


@click.command()
@pass_app
def serve(app: App) -> None:
    """Serve the HTTP APIs until interrupted.

    Example: `mailfleet serve`
    """
    serve_api(app.settings)


@click.group()
def db() -> None:
    """The database."""


@db.command()
@pass_app
def upgrade(app: App) -> None:
    """Bring the database to this version; the API and the reconciler do so when they start.

    Example: `mailfleet db upgrade`
    """
    done = database.upgrade(app.settings.database_url)
    what = "was brought to" if done else "is of"
    click.echo(f"the database {what} this version, which is schema {database.newest()}")


@db.command("copy")
@click.option("--to", "target", required=True, help="SQLAlchemy URL of an empty database.")
@pass_app
def copy(app: App, target: str) -> None:
    """Copy this installation into another database; stop the API and the reconcilers first.

    Example: `mailfleet db copy --to postgresql+psycopg:///mailfleet`
    """
    counts = copying.copy(app.engine, target)
    click.echo(f"copied {sum(counts.values())} rows: set database_url to the new database now")
