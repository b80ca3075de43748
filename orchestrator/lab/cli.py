"""The command ``lab``."""

import json
import subprocess
import sys
from pathlib import Path

import rich_click as click
from rich.console import Console
from rich.table import Table

from orchestrator.lab import containers, control_plane, topology, vagrant_cli
from orchestrator.lab.access import Lab
from orchestrator.lab.demonstrate import demonstrate
from orchestrator.lab.down import down as take_down
from orchestrator.lab.options import errors, show_proofs, state_option, topology_option
from orchestrator.lab.reporter import Reporter
from orchestrator.lab.state import State
from orchestrator.lab.up import up as bring_up


@click.group()
def lab() -> None:
    """A real fleet on one machine, in Docker: two bare mail hosts, name servers and the world.

    Example: `lab up`, then `lab exec mx1 -- ip address`, and at the end `lab down`.
    """


@lab.command()
@state_option
@topology_option
@click.option("--fleet-only", is_flag=True, help="Only the machines: no Mailfleet, no tenant.")
def up(state_dir: Path, topology_file: Path, fleet_only: bool) -> None:
    """Build and start the lab, or repair it, and show Mailfleet on it. Harmless when it is up.

    Example: `mailfleet lab up`
    """
    reporter = Reporter()
    with errors():
        described = topology.load(topology_file)
        bring_up(state_dir, described, reporter)
        proofs = [] if fleet_only else demonstrate(state_dir, described, reporter)
    if fleet_only:
        click.echo(f"The lab is up: {state_dir / 'lab.json'}")
    else:
        show_proofs(proofs, state_dir)


@lab.command()
@state_option
@topology_option
@click.option("--purge", is_flag=True, help="Remove the cached images as well.")
def down(state_dir: Path, topology_file: Path, purge: bool) -> None:
    """Remove the lab: Mailfleet's processes, containers, network and keys. Cached images stay.

    Example: `mailfleet lab down`
    """
    with errors():
        control_plane.stop(State.at(state_dir))
        take_down(state_dir, topology.load(topology_file), Reporter(), purge=purge)


@lab.command()
@state_option
@topology_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def status(state_dir: Path, topology_file: Path, as_json: bool) -> None:
    """Show each machine. The exit code is 0 when all of them run, otherwise 1."""
    with errors():
        rows = Lab.open(state_dir, topology.load(topology_file)).status()
    if as_json:
        click.echo(json.dumps(rows, indent=2))
    else:
        table = Table("machine", "container", "systemd", "address")
        for row in rows:
            table.add_row(row["name"], row["container"], row["systemd"], row["address"])
        Console().print(table)
    if any(row["systemd"] != "running" for row in rows):
        sys.exit(1)


@lab.group()
def zone() -> None:
    """Delegate domains to the lab's name servers, as a tenant's registrar would.

    Example: `lab zone add new-tenant.net --managed`
    """


@zone.command("add")
@click.argument("name")
@click.option(
    "--managed/--foreign",
    default=False,
    help="Whether the fleet's key may update it; otherwise only the customer's.",
)
@state_option
@topology_option
def zone_add(name: str, managed: bool, state_dir: Path, topology_file: Path) -> None:
    """Serve a new zone."""
    with errors():
        Lab.open(state_dir, topology.load(topology_file)).add_zone(name, managed=managed)


@zone.command("remove")
@click.argument("name")
@click.option("--lame", is_flag=True, help="Keep the delegation: the name answers SERVFAIL.")
@state_option
@topology_option
def zone_remove(name: str, lame: bool, state_dir: Path, topology_file: Path) -> None:
    """Stop serving a zone that was added."""
    with errors():
        Lab.open(state_dir, topology.load(topology_file)).remove_zone(name, lame=lame)


@lab.command("exec", context_settings={"ignore_unknown_options": True})
@click.argument("name")
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
@state_option
@topology_option
def run(name: str, command: tuple[str, ...], state_dir: Path, topology_file: Path) -> None:
    """Run a command as root in a machine; its exit code is this one's.

    Example: `lab exec mx2 -- journalctl -u ssh`
    """
    with errors():
        container = Lab.open(state_dir, topology.load(topology_file)).container(name)
    if sys.stdin.isatty() and sys.stdout.isatty():
        # The SDK can't hand over a terminal; Docker's own client can.
        sys.exit(subprocess.call(["docker", "exec", "-it", container.id, *command]))
    code, output = containers.run(container, command)
    click.echo(output, nl=False)
    sys.exit(code)


lab.add_command(vagrant_cli.group)
