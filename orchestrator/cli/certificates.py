"""``mailfleet certificates``: what the hosts identify themselves with."""

import rich_click as click

from orchestrator.cli.app import App, json_option, pass_app, show
from orchestrator.conditions import Type
from orchestrator.db import reading, writing
from orchestrator.models import utcnow
from orchestrator.services import certificates as service
from orchestrator.services import conditions
from orchestrator.services import hosts as hosts_service
from orchestrator.spec import certificate_of


@click.group()
def certificates() -> None:
    """The hosts' TLS certificates, from the operator's CA, from files or by ACME."""


@certificates.command("list")
@json_option
@pass_app
def list_(app: App, as_json: bool) -> None:
    """List the certificates in force, with how it stands with their renewal.

    Example: `mailfleet certificates list --json`
    """
    now, rows = utcnow(), []
    with reading(app.engine) as session:
        hosts = hosts_service.list_(session)
        known = conditions.get_all(session, [host.id for host in hosts])
        for host in hosts:
            row = certificate_of(session, host.id)
            if row is None:
                continue
            condition = known.get((host.id, Type.CERTIFICATE_VALID))
            rows.append(
                {
                    "host": host.name,
                    "source": str(row.source),
                    "names": row.names if as_json else "\n".join(row.names),
                    "not_after": row.not_after.isoformat(timespec="seconds"),
                    "days_left": (row.not_after - now).days,
                    "renewed_from": row.renew_at.isoformat(timespec="seconds"),
                    "valid": str(condition.status) if condition else "Unknown",
                    "message": condition.message if condition else "",
                }
            )
    show(rows, as_json=as_json, empty="no host has a certificate yet")


@certificates.command()
@click.argument("host")
@pass_app
def renew(app: App, host: str) -> None:
    """Have the reconciler get a new certificate for a host now.

    Example: `mailfleet certificates renew mx1`
    """
    with writing(app.engine) as session:
        service.renew(session, hosts_service.get_by_name(session, host))
    click.echo(f"{host} gets a new certificate; `mailfleet certificates list` shows it")
