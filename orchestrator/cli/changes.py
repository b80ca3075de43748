"""Changes of a host as an operator reads them."""

from collections.abc import Iterable, Iterator

from rich.console import Console
from rich.text import Text

from orchestrator.plan import Action, Change

MARKS = {
    Action.CREATE: ("+", "green"),
    Action.INSTALL: ("+", "green"),
    Action.UPDATE: ("~", "yellow"),
    Action.DELETE: ("-", "red"),
    Action.RELOAD: ("*", "cyan"),
    Action.START: ("*", "cyan"),
}
#: How lines of a unified diff begin; the longer ones first.
DIFF = {"+++": "bold", "---": "bold", "@@": "cyan", "+": "green", "-": "red"}


def print_changes(out: Console, changes: Iterable[Change], *, diffs: bool) -> None:
    """Print one line a change, and its diff below it."""
    for change in changes:
        mark, colour = MARKS[change.action]
        line = Text(f"  {mark} {change.action} {change.subject}", colour)
        if change.why:
            line.append(f"  ({change.why})", "default")
        out.print(line)
        if diffs and change.diff:
            out.print(Text("\n").join(_coloured(change.diff)))


def _coloured(diff: str) -> Iterator[Text]:
    for line in diff.splitlines():
        style = next((style for start, style in DIFF.items() if line.startswith(start)), "")
        yield Text(f"      {line}", style)
