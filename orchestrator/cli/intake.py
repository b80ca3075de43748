"""``mailfleet addresses add``: addresses on their way into the pool."""

import json
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import rich_click as click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from orchestrator.cli.app import CONVERGED, FAILED, App, json_option, pass_app
from orchestrator.db import reading, writing
from orchestrator.dns import resolver
from orchestrator.dns.verification import confirmed_name
from orchestrator.models import AddressState
from orchestrator.services import hosts, intake
from orchestrator.services.intake import Arrival

LOOK_SECONDS = 0.5
#: Addresses whose PTR is looked up at a time.
LOOKUPS = 16


@click.command()
@click.argument("ips", nargs=-1, required=True, metavar="IP...")
@click.option("--host", "host_name", required=True, help="The host that carries them.")
@click.option(
    "--ptr",
    metavar="TEMPLATE",
    help="Their PTR and EHLO names, with the dashed IP for {ip}; by default the PTR that an "
    "address has already where its name points back, or else the fleet's own.",
)
@click.option("--no-wait", is_flag=True, help="Return at once.")
@click.option("--timeout", default=300.0, show_default=True, help="Seconds to wait at most.")
@json_option
@pass_app
def add(  # noqa: PLR0917 - click passes them by name
    app: App,
    ips: tuple[str, ...],
    host_name: str,
    ptr: str | None,
    no_wait: bool,
    timeout: float,
    as_json: bool,
) -> int:
    """Bring addresses that a host carries into the pool: IPs, ranges and networks.

    An address is free once its PTR was confirmed and no blocklist lists it; a listed one is
    quarantined. The running reconciler looks.

    Example: `mailfleet addresses add 198.51.100.21-28 --host mx1 --ptr out-{ip}.fleet.net`
    """
    wanted = intake.expand(ips)
    named = intake.names(wanted, ptr) if ptr else _present_names(app, wanted)
    with writing(app.engine) as session:
        intake.add(session, hosts.get_by_name(session, host_name), named)
    seen = _look(app, wanted) if no_wait else _wait(app, wanted, timeout)
    if as_json:
        click.echo(json.dumps([row.as_dict() for row in seen], indent=2))
    else:
        for row in seen:
            reason = f": {row.reason}" if row.reason and not no_wait else ""
            click.echo(f"{row.ip} ({row.name}) is {row.state}{reason}")
    fit = no_wait or all(row.settled and row.state is not AddressState.QUARANTINED for row in seen)
    return CONVERGED if fit else FAILED


def _present_names(app: App, ips: Sequence[str]) -> dict[str, str]:
    asked = resolver.configured(app.settings)
    with ThreadPoolExecutor(LOOKUPS) as threads:
        present = list(threads.map(lambda ip: confirmed_name(asked, ip), ips))
    return {
        ip: name or intake.default_name(ip, app.settings.fleet_domain)
        for ip, name in zip(ips, present, strict=True)
    }


def _look(app: App, ips: Sequence[str]) -> list[Arrival]:
    with reading(app.engine) as session:
        return intake.arrivals(session, ips)


def _wait(app: App, ips: Sequence[str], timeout: float) -> list[Arrival]:
    deadline = time.monotonic() + timeout
    columns = (TextColumn("looked at"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("", total=len(ips))
        while True:
            seen = _look(app, ips)
            progress.update(task, completed=sum(row.settled for row in seen))
            if all(row.settled for row in seen) or time.monotonic() > deadline:
                return seen
            time.sleep(LOOK_SECONDS)
