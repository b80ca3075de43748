"""The command ``lab vagrant``: what the Vagrantfile calls."""

import json
from pathlib import Path

import rich_click as click

from orchestrator.lab import control_plane, topology, vagrant
from orchestrator.lab.options import errors, show_proofs, state_option, topology_option
from orchestrator.lab.reporter import Reporter
from orchestrator.lab.state import State


@click.group("vagrant")
def group() -> None:
    """The lab's fleet as machines of Vagrant's; called by vagrant/Vagrantfile.

    Example: `cd vagrant && vagrant up --provider=docker`
    """


@group.command()
@state_option
@topology_option
def describe(state_dir: Path, topology_file: Path) -> None:
    """Print the machines as JSON; nothing is made or changed.

    Example: `mailfleet lab vagrant describe --state vagrant/.fleet`
    """
    with errors():
        described = vagrant.describe(topology.load(topology_file), State.at(state_dir))
    click.echo(json.dumps(described, indent=2))


@group.command()
@click.argument("provider")
@state_option
@topology_option
def prepare(provider: str, state_dir: Path, topology_file: Path) -> None:
    """Make what the machines start from: keys, files, and Docker's images and network.

    Example: `mailfleet lab vagrant prepare docker --state vagrant/.fleet`
    """
    with errors():
        vagrant.prepare(topology.load(topology_file), state_dir, provider, Reporter())


@group.command()
@state_option
@topology_option
def converge(state_dir: Path, topology_file: Path) -> None:
    """Enrol the machines that run, converge them, and send mail from each host.

    Example: `mailfleet lab vagrant converge --state vagrant/.fleet`
    """
    with errors():
        proofs = vagrant.converge(topology.load(topology_file), state_dir, Reporter())
    show_proofs(proofs, state_dir)


@group.command()
@state_option
def stop(state_dir: Path) -> None:
    """Stop Mailfleet's processes before the machines go down; harmless again.

    Example: `mailfleet lab vagrant stop --state vagrant/.fleet`
    """
    with errors():
        control_plane.stop(State.at(state_dir))


@group.command()
@state_option
@topology_option
def forget(state_dir: Path, topology_file: Path) -> None:
    """Remove what was made for machines that are gone.

    Example: `mailfleet lab vagrant forget --state vagrant/.fleet`
    """
    with errors():
        vagrant.forget(topology.load(topology_file), state_dir, Reporter())
