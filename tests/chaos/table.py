"""The table of what was survived: kept in the lab's directory, printed for people and README.

Example: ``python tests/chaos/table.py``
"""

import json
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

TABLE = Path(__file__).resolve().parents[2] / ".lab" / "chaos.json"
HEADINGS = {
    "seeds": "runs",
    "looks": "client's looks",
    "dropped": "tried again",
    "longest_outage": "longest outage (ms)",
    "passes": "passes",
    "other": "pass over the other host (ms)",
}


@dataclass
class Row:
    """One scenario on one host. Times in milliseconds.

    ``calm`` and ``suffering`` are what a pass over the other host took, without the fault and
    with it; there is none where all hosts wait for the same thing.
    """

    scenario: str
    host: str
    seeds: int = 0
    looks: int = 0
    dropped: int = 0
    longest_outage: int = 0
    passes: int = 0
    calm: float | None = None
    suffering: float | None = None

    @property
    def other(self) -> str:
        """The other host's passes, without the fault and with it."""
        if self.calm is None or self.suffering is None:
            return "-"
        return f"{self.calm:.0f} → {self.suffering:.0f}"


def read() -> list[Row]:
    """All rows, in the order in which they were first written."""
    return [Row(**row) for row in json.loads(TABLE.read_text())] if TABLE.exists() else []


def keep(row: Row) -> None:
    """Write a row, in place of the one from an earlier run."""
    rows = {(old.scenario, old.host): old for old in read()}
    rows[row.scenario, row.host] = row
    TABLE.write_text(json.dumps([asdict(row) for row in rows.values()], indent=2) + "\n")


def markdown(rows: list[Row]) -> str:
    """The rows as a table of Markdown: a line for each scenario, with its hosts side by side."""
    scenarios: dict[str, list[Row]] = {}
    for row in sorted(rows, key=lambda row: row.host):
        scenarios.setdefault(row.scenario, []).append(row)
    hosts = " / ".join(sorted({row.host for row in rows}))
    lines = [[f"fault on {hosts}", *HEADINGS.values()], ["---"] * (len(HEADINGS) + 1)]
    for scenario in dict.fromkeys(row.scenario for row in rows):
        cells = ([str(getattr(row, name)) for row in scenarios[scenario]] for name in HEADINGS)
        lines.append([scenario, *(" / ".join(values) for values in cells)])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


if __name__ == "__main__":
    sys.stdout.write(markdown(read()) + "\n")
