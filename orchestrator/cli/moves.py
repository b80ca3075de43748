"""``mailfleet addresses move`` and ``moves``, and waiting for moves wherever they are begun."""

import time
from collections.abc import Callable, Sequence
from typing import TypeVar
from uuid import UUID

import rich_click as click
from rich.console import Console

from orchestrator.cli.app import CONVERGED, FAILED, App, json_option, pass_app, show
from orchestrator.db import reading, writing
from orchestrator.models import Move, MovePhase
from orchestrator.services import addresses, hosts, moves, restored

T = TypeVar("T")

LOOK_SECONDS = 0.5

no_wait_option = click.option("--no-wait", is_flag=True, help="Return at once.")
ignore_dns_option = click.option(
    "--ignore-dns", is_flag=True, help="Don't wait until the tenants' records are seen in DNS."
)


def watch(look: Callable[[], tuple[T, str]], done: Callable[[T], bool]) -> T:
    """Look until it is done; each new line of progress goes to standard error."""
    err = Console(stderr=True, highlight=False)
    shown = ""
    while True:
        seen, line = look()
        if line != shown:
            err.print(line, markup=False, soft_wrap=True)
            shown = line
        if done(seen):
            return seen
        time.sleep(LOOK_SECONDS)


def follow(app: App, keys: Sequence[UUID]) -> int:
    """Wait for moves to end, with progress; gives the exit code."""

    def look() -> tuple[list[moves.Progress], str]:
        with reading(app.engine) as session:
            seen = [moves.progress(session, session.get_one(Move, key)) for key in keys]
        return seen, "\n".join(_line(row) for row in seen if not row.ended)

    seen = watch(look, lambda rows: all(row.ended for row in rows))
    for row in seen:
        click.echo(_line(row))
    return CONVERGED if all(row.phase is MovePhase.DONE for row in seen) else FAILED


def _line(row: moves.Progress) -> str:
    why = f": {row.reason}" if row.reason else ""
    text = f"{why}: {row.message}" if row.message else why
    counts = f"{row.copied} copied, {row.moved} moved of {row.mailboxes} mailboxes"
    return f"{row.source} -> {row.target} ({row.workspace}) {row.phase}, {counts}{text}"


@click.command()
@click.argument("ip")
@click.option("--to", "to_ip", help="The address to move to, free or the tenant's own.")
@click.option("--to-host", "to_name", help="The host to take a free address of.")
@click.option("--cancel", is_flag=True, help="Give the move up, while mailboxes are still copied.")
@click.option(
    "--moved",
    metavar="EMAIL",
    multiple=True,
    help="After a restore: it has moved since the backup; nothing is copied (repeatable).",
)
@ignore_dns_option
@no_wait_option
@pass_app
def move(  # noqa: PLR0917 - click passes them by name
    app: App,
    ip: str,
    to_ip: str | None,
    to_name: str | None,
    cancel: bool,
    moved: tuple[str, ...],
    ignore_dns: bool,
    no_wait: bool,
) -> int:
    """Let the mail of an address go over to an address of another host, nothing of it lost.

    Example: `mailfleet addresses move 198.51.100.22 --to-host mx2 --no-wait`
    """
    if to_ip and to_name:
        raise click.UsageError("--to and --to-host are two ways to say one thing")
    if moved:
        return _follow(app, ip, to_ip, moved)
    with writing(app.engine) as session:
        source = addresses.get_by_ip(session, ip)
        if cancel:
            begun = moves.cancel(session, source)
        else:
            begun = moves.start(
                session,
                source,
                to=addresses.get_by_ip(session, to_ip) if to_ip else None,
                to_host=hosts.get_by_name(session, to_name) if to_name else None,
                ignore_dns=ignore_dns,
            )
        key = begun.id
    if no_wait:
        click.echo(f"{ip} {'is called back' if cancel else 'begins to move'}")
        return CONVERGED
    code = follow(app, [key])
    return CONVERGED if cancel else code


def _follow(app: App, ip: str, to_ip: str | None, emails: Sequence[str]) -> int:
    if to_ip is None:
        raise click.UsageError("--moved needs --to: the address that the mail is at")
    with writing(app.engine) as session:
        source, to = addresses.get_by_ip(session, ip), addresses.get_by_ip(session, to_ip)
        restored.follow(session, source, to, {email.lower() for email in emails})
    click.echo(f"{', '.join(emails)}: at {to_ip}")
    return CONVERGED


@click.command("moves")
@click.option("--all", "ended", is_flag=True, help="Also those that have ended.")
@json_option
@pass_app
def list_moves(app: App, ended: bool, as_json: bool) -> None:
    """List the moves under way.

    Example: `mailfleet addresses moves --json`
    """
    with reading(app.engine) as session:
        rows = [row.as_dict() for row in moves.list_(session, ended=ended)]
    show(rows, as_json=as_json, empty="no address is moving")
