"""What a benchmark found: a table, and what it was to be; for terminals, READMEs and programs."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from rich.console import Console
from rich.table import Table

Cell = str | float | int


@dataclass(frozen=True)
class Target:
    """A figure that was promised: at most ``limit``, or with ``least`` at least that."""

    what: str
    measured: float
    limit: float
    unit: str
    least: bool = False

    @property
    def met(self) -> bool:
        """Whether it was kept."""
        return self.measured >= self.limit if self.least else self.measured <= self.limit

    def __str__(self) -> str:
        verdict = "met" if self.met else "MISSED"
        bound = "least" if self.least else "most"
        return (
            f"{verdict}: {self.what}: {number(self.measured)} {self.unit} "
            f"(at {bound} {number(self.limit)} {self.unit})"
        )


@dataclass(frozen=True)
class Report:
    """One table. ``profiles`` tell where the time goes, when that was asked for."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    targets: Sequence[Target] = ()
    notes: Sequence[str] = ()
    profiles: Sequence[str] = field(default=())

    def print(self, console: Console) -> None:
        """For a terminal."""
        table = Table(title=self.title, title_justify="left", box=None, pad_edge=False)
        for position, column in enumerate(self.columns):
            table.add_column(column, justify="left" if position == 0 else "right")
        for row in self.rows:
            table.add_row(*(number(cell) for cell in row))
        console.print(table)
        for line in (*map(str, self.targets), *self.notes, *self.profiles):
            console.print(f"  {line}", markup=False, highlight=False)
        console.print()

    def markdown(self) -> str:
        """For a README."""
        lines = [
            f"**{self.title}**",
            "",
            "| " + " | ".join(self.columns) + " |",
            "|" + "|".join(["---"] + ["---:"] * (len(self.columns) - 1)) + "|",
            *("| " + " | ".join(number(cell) for cell in row) + " |" for row in self.rows),
            "",
            *(f"- {line}" for line in (*map(str, self.targets), *self.notes)),
        ]
        return "\n".join(lines) + "\n"

    def as_dict(self) -> dict[str, Any]:
        """For JSON; each target says whether it was met."""
        described = asdict(self)
        described["targets"] = [{**asdict(t), "met": t.met} for t in self.targets]
        return described


def number(value: Cell) -> str:
    """Three significant digits; text as it is."""
    if isinstance(value, str):
        return value
    if abs(value) >= 100 or value == int(value):
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"
