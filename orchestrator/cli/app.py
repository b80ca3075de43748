"""What every command shares: settings and database, output for people and programs, exit codes."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from pathlib import Path
from types import MappingProxyType
from typing import Any

import rich_click as click
from rich.console import Console
from rich.table import Table
from sqlalchemy import Engine

from orchestrator import db, settings
from orchestrator.errors import OrchestratorError
from orchestrator.secrets import Vault
from orchestrator.settings import Settings

CONVERGED = 0
FAILED = 1
PENDING = 2
#: ``EX_USAGE`` of sysexits(3): 2 already means "changes pending".
USAGE = 64


@dataclass
class App:
    """One run of a command."""

    config: Path | None
    as_json: bool = False

    @cached_property
    def settings(self) -> Settings:
        """The settings, read once."""
        return settings.load(self.config)

    @cached_property
    def engine(self) -> Engine:
        """The database, migrated to this version."""
        db.upgrade(self.settings.database_url)
        return db.connect(self.settings.database_url)

    @cached_property
    def vault(self) -> Vault:
        """The master key."""
        return Vault(self.settings.master_key_file)


pass_app = click.make_pass_decorator(App)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


class Group(click.RichGroup):
    """A group whose errors are one sentence on standard error, with an exit code that means.

    ``elsewhere`` names its commands, each as ``module:attribute``: a command loads what it
    needs and no more, because all of it takes more than a second.
    """

    elsewhere: Mapping[str, str] = MappingProxyType({})

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names of all commands, in their order."""
        return list(self.elsewhere)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Load a command; None where there is none of that name."""
        if cmd_name not in self.elsewhere:
            return None
        module, _, attribute = self.elsewhere[cmd_name].partition(":")
        command = getattr(import_module(module), attribute)
        assert isinstance(command, click.Command)
        return command

    def main(self, *args: Any, **kwargs: Any) -> Any:
        """Run, and turn our errors into exit codes."""
        kwargs["standalone_mode"] = False
        try:
            raise SystemExit(super().main(*args, **kwargs) or 0)
        except click.UsageError as error:
            error.show()
            raise SystemExit(USAGE) from None
        except click.ClickException as error:
            error.show()
            raise SystemExit(FAILED) from None
        except (click.Abort, KeyboardInterrupt):
            click.echo("interrupted", err=True)
            raise SystemExit(130) from None
        except OrchestratorError as error:
            click.echo(f"error: {error}", err=True)
            raise SystemExit(FAILED) from None


def entry(help_text: str, elsewhere: Mapping[str, str]) -> Callable[[Callable[..., None]], Group]:
    """Make a top-level command group that reads ``--config``; for ``elsewhere`` see ``Group``."""

    def wrap(named: Callable[..., None]) -> Group:
        @click.group(
            named.__name__,
            cls=Group,
            help=help_text,
            context_settings={"help_option_names": ["-h", "--help"]},
        )
        @click.option(
            "--config",
            type=click.Path(path_type=Path, dir_okay=False),
            envvar="MAILFLEET_CONFIG",
            help="Settings file (TOML); otherwise ./mailfleet.toml, and MAILFLEET_… variables.",
        )
        @click.pass_context
        def group(context: click.Context, config: Path | None) -> None:
            # ``mailfleet --config F reconcile …`` has read it already.
            if config is not None or not isinstance(context.obj, App):
                context.obj = App(config)

        assert isinstance(group, Group)
        group.elsewhere = elsewhere
        return group

    return wrap


def show(rows: Sequence[dict[str, Any]], *, as_json: bool, empty: str = "nothing") -> None:
    """Print rows as a table, or as a JSON array."""
    if as_json:
        click.echo(json.dumps(rows, indent=2, default=str))
        return
    if not rows:
        click.echo(empty)
        return
    table = Table(box=None, header_style="bold", pad_edge=False)
    for name in rows[0]:
        table.add_column(name.replace("_", " "), overflow="fold")
    for row in rows:
        table.add_row(*("" if value is None else str(value) for value in row.values()))
    console().print(table)


def console() -> Console:
    """Standard output; as wide as needed where it is not a terminal, so that nothing is cut."""
    made = Console(highlight=False)
    return made if made.is_terminal else Console(highlight=False, width=200, color_system=None)
