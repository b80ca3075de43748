"""What the lab's commands share: where it is, its errors, and the table that ends ``up``."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import rich_click as click
from rich.console import Console
from rich.table import Table

from orchestrator.errors import OrchestratorError
from orchestrator.lab import topology
from orchestrator.lab.demo import Proof
from orchestrator.lab.state import State
from orchestrator.lab.up import INFO

state_option = click.option(
    "--state",
    "state_dir",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path(".lab"),
    show_default=True,
    help="Directory of the lab's keys and lab.json.",
)
topology_option = click.option(
    "--topology",
    "topology_file",
    type=click.Path(path_type=Path, dir_okay=False),
    default=topology.DEFAULT_FILE,
    help="The description of the test fleet (inventory/lab.toml).",
)


@contextmanager
def errors() -> Iterator[None]:
    """Turn what can go wrong into one sentence and exit code 1."""
    try:
        yield
    except OrchestratorError as error:
        raise click.ClickException(str(error)) from None


def show_proofs(proofs: Sequence[Proof], state_dir: Path) -> None:
    """Print what the world thought of each message, and how to go on.

    :raises click.ClickException: when it did not believe every one.
    """
    table = Table(box=None, header_style="bold", pad_edge=False)
    for name in ("host", "from", "verdicts", "from address", "EHLO and PTR", "reply"):
        table.add_column(name, overflow="fold")
    for proof in proofs:
        names = proof.ehlo if proof.ehlo == proof.ptr else f"{proof.ehlo}, {proof.ptr}"
        reply = f"read as {proof.reply_uid}"
        table.add_row(proof.host, proof.sender, proof.verdicts, proof.source_ip, names, reply)
    out = Console(highlight=False)
    (out if out.is_terminal else Console(highlight=False, width=160)).print(table)
    described = State.at(state_dir).read_json(INFO)
    click.echo(f"API: {described['api']}/api/v1 (pages: {described['api']}/api/v1/docs)")
    click.echo(f"Key of the workspace: {described['keys']['adbtd']}")
    click.echo(f"The lab is up: {state_dir / 'lab.json'}")
    if not all(proof.passed for proof in proofs):
        raise click.ClickException("the receiver did not believe every message")
