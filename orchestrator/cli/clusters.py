"""``mailfleet clusters``: tenants' sets of MTAs, their hosts and their rates."""

import json
from typing import Any

import rich_click as click
from sqlmodel import Session

from orchestrator import clusterspec
from orchestrator.cli.app import App, json_option, pass_app, show
from orchestrator.cli.mtas import add_mta, remove_mta
from orchestrator.db import reading, writing
from orchestrator.models import Cluster, Host, Workspace
from orchestrator.services import cluster_domains, credentials, workspaces
from orchestrator.services import clusters as service


@click.group()
def clusters() -> None:
    """Sets of MTAs that tenants' applications submit to."""


clusters.add_command(add_mta)
clusters.add_command(remove_mta)


@clusters.command()
@click.option("--workspace", required=True, help="The tenant's slug.")
@click.option("--region", required=True, help="Where its MTAs are, for the tenant to read.")
@pass_app
def create(app: App, workspace: str, region: str) -> None:
    """Make a cluster, which has no MTA yet, and print its id.

    Example: `mailfleet clusters create --workspace acme --region lab-1`
    """
    with writing(app.engine) as session:
        owner = workspaces.get_by_slug(session, workspace)
        row = service.create(session, app.settings, owner, region=region)
    click.echo(row.slug)


@clusters.command("list")
@click.option("--workspace", help="The tenant's slug; by default all.")
@json_option
@pass_app
def list_(app: App, workspace: str | None, as_json: bool) -> None:
    """List the clusters.

    Example: `mailfleet clusters list --workspace acme`
    """
    with reading(app.engine) as session:
        owner = workspaces.get_by_slug(session, workspace) if workspace else None
        rows = [
            {**_summary(session, row), "mtas": len(service.members(session, row))}
            for row in service.list_(session, owner)
        ]
    show(rows, as_json=as_json, empty="no cluster")


@clusters.command()
@click.argument("slug", metavar="ID")
@json_option
@pass_app
def status(app: App, slug: str, as_json: bool) -> None:
    """Show a cluster: its MTAs with their queues and addresses, and what is sent through it.

    Example: `mailfleet clusters status k7wq3xzp`
    """
    with reading(app.engine) as session:
        cluster = service.get_by_slug(session, slug)
        told = {
            **_summary(session, cluster),
            "credentials": len(credentials.list_(session, cluster)),
            "domains": [
                {"name": row.name, "status": "verified" if row.verified_at else "pending"}
                for row in cluster_domains.list_(session, cluster)
            ],
            "mtas": _mtas(session, cluster),
        }
    if as_json:
        click.echo(json.dumps(told, indent=2))
        return
    show([{k: v for k, v in told.items() if not isinstance(v, list)}], as_json=False)
    click.echo()
    mtas = [{**row, "addresses": ", ".join(map(_spoken, row["addresses"]))} for row in told["mtas"]]
    show(mtas, as_json=False, empty="no MTA")
    click.echo()
    show(told["domains"], as_json=False, empty="no domain")


def _summary(session: Session, cluster: Cluster) -> dict[str, Any]:
    return {
        "id": cluster.slug,
        "workspace": session.get_one(Workspace, cluster.workspace_id).slug,
        "region": cluster.region,
        "hostname": cluster.hostname,
        "status": service.status(session, cluster),
        "message_rate": cluster.max_message_rate,
    }


def _mtas(session: Session, cluster: Cluster) -> list[dict[str, Any]]:
    members = service.members(session, cluster)
    states = service.mta_states(session, members)
    return [
        {
            "host": host.name,
            "state": states[host.id],
            "queue": host.queue,
            "addresses": _addresses(session, cluster, host),
        }
        for host in members
    ]


def _addresses(session: Session, cluster: Cluster, host: Host) -> list[dict[str, Any]]:
    """The tenant's addresses there; those in rotation are what the host is told to send from."""
    held = service.addresses_on(session, cluster, host)
    sending = clusterspec.build(session, host, cluster, (), held).egress_ips
    return [
        {
            "ip": row.ip,
            "name": row.ptr_name,
            "in_rotation": row.ip in sending,
            "listed_by": row.reputation_flags or [],
        }
        for row in held
    ]


def _spoken(address: dict[str, Any]) -> str:
    notes = [] if address["in_rotation"] else ["not in rotation"]
    notes += [f"listed by {zone}" for zone in address["listed_by"]]
    return f"{address['ip']} ({', '.join(notes)})" if notes else str(address["ip"])


@clusters.command("set-rate")
@click.argument("slug", metavar="ID")
@click.argument("rate")
@pass_app
def set_rate(app: App, slug: str, rate: str) -> None:
    """Limit how fast each MTA of a cluster sends, such as 500/hr or 50/hr,max_burst=10, or `none`.

    Example: `mailfleet clusters set-rate k7wq3xzp 500/hr`
    """
    limit = None if rate == "none" else rate
    with writing(app.engine) as session:
        service.set_rate(session, service.get_by_slug(session, slug), limit)
    click.echo(f"each MTA of {slug} sends {limit or 'as fast as it can'}")


@clusters.command()
@click.argument("slug", metavar="ID")
@pass_app
def remove(app: App, slug: str) -> None:
    """Forget a cluster that has no MTAs, domains or credentials any more.

    Example: `mailfleet clusters remove k7wq3xzp`
    """
    with writing(app.engine) as session:
        service.remove(session, service.get_by_slug(session, slug))
    click.echo(f"{slug} is forgotten")
