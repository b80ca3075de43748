"""``mailfleet clusters add-mta`` and ``remove-mta``: which hosts a cluster has."""

from functools import partial
from uuid import UUID

import rich_click as click
from sqlmodel import Session

from orchestrator.cli.app import CONVERGED, App, pass_app
from orchestrator.cli.moves import follow, no_wait_option, watch
from orchestrator.db import reading, writing
from orchestrator.errors import Conflict
from orchestrator.models import Cluster, Host, Workspace
from orchestrator.services import clusters as service
from orchestrator.services import hosts, moves


@click.command("add-mta")
@click.argument("slug", metavar="ID")
@click.argument("name", metavar="HOST")
@click.option(
    "--addresses",
    "count",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Dedicated IPv4 addresses that the tenant shall have there.",
)
@pass_app
def add_mta(app: App, slug: str, name: str, count: int) -> None:
    """Let a host be an MTA of a cluster; addresses that the tenant lacks there are assigned.

    Example: `mailfleet clusters add-mta k7wq3xzp mx1 --addresses 2`
    """
    with writing(app.engine) as session:
        cluster = service.get_by_slug(session, slug)
        taken = service.add_mta(session, cluster, hosts.get_by_name(session, name), count=count)
        ips = [address.ip for address in taken]
    also = f"; the tenant gets {', '.join(ips)}" if ips else ""
    click.echo(f"{name} is an MTA of {slug}{also}")


@click.command("remove-mta")
@click.argument("slug", metavar="ID")
@click.argument("name", metavar="HOST")
@click.option(
    "--evacuate",
    is_flag=True,
    help="Then move the tenant's addresses there to other MTAs of the cluster.",
)
@no_wait_option
@pass_app
def remove_mta(app: App, slug: str, name: str, evacuate: bool, no_wait: bool) -> int:
    """Take no more submissions on an MTA; it leaves the cluster once all that it has is sent.

    Example: `mailfleet clusters remove-mta k7wq3xzp mx1 --evacuate`
    """
    if evacuate and no_wait:
        text = "--evacuate begins when the MTA has left, which --no-wait doesn't wait for"
        raise click.UsageError(text)
    with writing(app.engine) as session:
        cluster = service.get_by_slug(session, slug)
        host = hosts.get_by_name(session, name)
        if host.cluster_id != cluster.id:
            raise Conflict(f"{name} is no MTA of {slug}")
        if evacuate and not _others(session, cluster, host):
            raise Conflict(f"{slug} has no other MTA that the addresses of {name} could move to")
        service.leave(session, host)
    click.echo(f"{name} takes no more submissions for {slug}")
    if no_wait:
        return CONVERGED
    watch(partial(_has_left, app, cluster.id, name), bool)
    click.echo(f"{name} has left {slug}")
    return _evacuate(app, slug, name) if evacuate else CONVERGED


def _others(session: Session, cluster: Cluster, host: Host) -> list[Host]:
    return [other for other in service.hosts(session, cluster) if other.id != host.id]


def _has_left(app: App, cluster_id: UUID, name: str) -> tuple[bool, str]:
    with reading(app.engine) as session:
        host = hosts.get_by_name(session, name)
        told = host in service.leaving(session)
    if host.cluster_id != cluster_id:
        return True, f"{name} has sent all of it"
    if not told:
        return False, f"waiting for {name} to be told"
    return False, f"{name} sends what it has: {host.queue} messages in its queue, of anybody"


def _evacuate(app: App, slug: str, name: str) -> int:
    with writing(app.engine) as session:
        cluster = service.get_by_slug(session, slug)
        host = hosts.get_by_name(session, name)
        owner = session.get_one(Workspace, cluster.workspace_id)
        begun = moves.hand_over(session, host, owner, _others(session, cluster, host))
        keys = [move.id for move in begun]
    click.echo(f"{len(keys)} of the tenant's addresses on {name} begin to move")
    return follow(app, keys)
