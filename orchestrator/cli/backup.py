"""``mailfleet backup`` and ``mailfleet restore``."""

import json
import os
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any, BinaryIO

import rich_click as click

from orchestrator import files
from orchestrator.cli.app import App, json_option, pass_app
from orchestrator.cli.hosts import rewrite_known_hosts
from orchestrator.errors import ConfigurationError
from orchestrator.installation import backup as making
from orchestrator.installation import restore as restoring
from orchestrator.installation.archive import Manifest
from orchestrator.installation.restore import Restored

STANDARD = Path("-")
file_argument = click.argument(
    "file", type=click.Path(path_type=Path, allow_dash=True, dir_okay=False)
)


@click.command()
@file_argument
@click.option("--force", is_flag=True, help="Replace FILE if it is there.")
@json_option
@pass_app
def backup(app: App, file: Path, force: bool, as_json: bool) -> None:
    """Write a backup of everything but mail: all rows as of one moment, and the keys.

    The API and the reconcilers go on. Who has the file has all keys: only its owner may read it,
    and it should leave this machine encrypted. `-` writes to standard output, and what there is to
    say to standard error.

    Example: `mailfleet backup - | age -r age1… > mailfleet.backup.age`
    """
    try:
        with _output(file, force=force) as out:
            manifest = making.make(app.engine, app.settings, out)
    except OSError as error:
        raise ConfigurationError(f"can't write the backup: {error.strerror}") from None
    absent = sorted(making.paths(app.settings).keys() - {*manifest.files, making.SSH_PUBLIC_KEY})
    told = {**_described(manifest), "rows": manifest.rows, "absent": absent}
    if as_json:
        click.echo(json.dumps(told, indent=2), err=file == STANDARD)
        return
    click.echo(
        f"backed up rows: {sum(manifest.rows.values())}, files: {', '.join(manifest.files)}",
        err=file == STANDARD,
    )
    for name in absent:
        click.echo(f"not in it: {name} is not there", err=True)


def _output(file: Path, *, force: bool) -> AbstractContextManager[BinaryIO]:
    if file != STANDARD:
        return files.written(file, replace=force)
    if sys.stdout.isatty():
        raise click.UsageError("a backup is not for a terminal: name a file, or pipe it on")
    return _standard()


@contextmanager
def _standard() -> Iterator[BinaryIO]:
    try:
        yield sys.stdout.buffer
        sys.stdout.flush()
    except OSError:
        # What is left would be tried once more at the exit (Python's signal module, "Note on
        # SIGPIPE"), and fail with an exit code of its own.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise


@click.command()
@file_argument
@json_option
@pass_app
def restore(app: App, file: Path, as_json: bool) -> None:
    """Put a backup back on an empty machine: all of it or nothing; `-` reads standard input.

    The database of the settings must be empty. Nothing goes out to hosts, name servers or
    recipients until you have looked and said `mailfleet hosts resume --restored`.

    Example: `age -d -i key.txt mailfleet.backup.age | mailfleet restore -`
    """
    with _input(file) as source:
        done = restoring.restore(source, app.settings)
    rewrite_known_hosts(app)
    if as_json:
        click.echo(json.dumps(_as_dict(done), indent=2))
        return
    for line in _lines(done):
        click.echo(line)


def _input(file: Path) -> AbstractContextManager[BinaryIO]:
    if file == STANDARD:
        return nullcontext(sys.stdin.buffer)
    try:
        return file.open("rb")
    except OSError as error:
        raise ConfigurationError(f"can't read {file}: {error.strerror}") from None


def _described(manifest: Manifest) -> dict[str, Any]:
    return {
        "made_at": manifest.made_at.isoformat(),
        "version": manifest.version,
        "schema": manifest.schema,
        "files": manifest.files,
    }


def _as_dict(done: Restored) -> dict[str, Any]:
    return {
        **_described(done.manifest),
        "written": done.files,
        "same": done.same,
        "unset": done.unset,
        **done.living,
        "held": {
            "hosts": done.held.hosts,
            "moves": done.held.moves,
            "messages": done.held.messages,
            "purges": done.held.purges,
        },
    }


def _lines(done: Restored) -> list[str]:
    manifest, held = done.manifest, done.held
    counts = ", ".join(f"{name}: {count}" for name, count in done.living.items())
    lines = [
        f"restored the backup of {manifest.made_at:%Y-%m-%d %H:%M:%S} UTC "
        f"(Mailfleet {manifest.version})",
        counts,
        f"files: {', '.join(done.files) or 'all there already'}",
    ]
    lines += [f"not restored: {name} is not set here" for name in done.unset]
    lines += ["", "held:" if any(vars(held).values()) else "held: nothing"]
    lines += [f"  {name} is paused: {why}" for name, why in held.hosts.items()]
    lines += [f"  move {move}; ended, and nothing touched on either host" for move in held.moves]
    lines += [
        f"  overdue scheduled messages of {slug}: {count}, given up, for they may have been sent"
        for slug, count in held.messages.items()
    ]
    lines += [f"  mail of {email}, deleted, goes when its host is resumed" for email in held.purges]
    return [
        *lines,
        "",
        "next, with the old control plane gone for good:",
        "  reconcile plan                      what the hosts have that the backup does not know",
        "  mailfleet hosts resume --restored   let everything go on",
    ]
