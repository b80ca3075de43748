"""``mailfleet init``: everything that an installation needs before it starts."""

import json
from dataclasses import asdict

import rich_click as click

from orchestrator.cli.app import App, json_option, pass_app, show
from orchestrator.installation import initial
from orchestrator.installation.initial import Installation
from orchestrator.settings import Settings


@click.command()
@json_option
@pass_app
def init(app: App, as_json: bool) -> None:
    """Make what is missing: database, master key, certificate authority, SSH key, operator's token.

    What is there is kept; the database is brought to this version.

    Example: `mailfleet init`
    """
    made = initial.prepare(app.settings)
    if as_json:
        click.echo(json.dumps(asdict(made), indent=2))
        return
    rows = [
        {"": "made" if part.made else "kept", "what": part.what, "where": part.where}
        for part in made.parts
    ]
    show(rows, as_json=False)
    for number, step in enumerate(_next(app.settings, made), 1):
        click.echo(f"\n{number}. {step}")


def _next(settings: Settings, made: Installation) -> list[str]:
    domains = {"fleet_domain": settings.fleet_domain, "probe_domain": settings.probe_domain}
    missing = [name for name, domain in domains.items() if domain.endswith(".invalid")]
    steps = [f"Choose {' and '.join(missing)} in the settings."] if missing else []
    return [
        *steps,
        f"Keep a copy of {settings.master_key_file} elsewhere, apart from copies of the database: "
        "without it nobody can read the passwords and signing keys in there.",
        "Let this key in: it belongs into /root/.ssh/authorized_keys of each mail host.\n"
        f"{made.ssh_public_key}",
        "Start the API and the reconciler (`systemctl enable --now mailfleet-api "
        "mailfleet-reconciler@1`, or by hand `mailfleet serve` and `reconcile run`), "
        "then enrol the hosts: `mailfleet hosts add --help`.",
    ]
