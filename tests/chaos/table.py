"""The table of what was survived: kept in the lab's directory, printed for people and README.

Example: ``python tests/chaos/table.py``
"""

import json
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

TABLE = Path(__file__).resolve().parents[2] / ".lab" / "chaos.json"
HEADINGS = {
    "scenario": "fault",
    "host": "host",
    "seeds": "runs",
    "looks": "client's looks",
    "dropped": "tried again",
    "longest_outage": "longest outage (ms)",
    "passes": "passes",
    "delay": "other host (%)",
}


@dataclass
class Row:
    """One scenario on one host. Times in milliseconds, the other host's delay in percent.

    There is no delay where all hosts wait for the same thing.
    """

    scenario: str
    host: str
    seeds: int = 0
    looks: int = 0
    dropped: int = 0
    longest_outage: int = 0
    passes: int = 0
    delay: float | None = None


def read() -> list[Row]:
    """All rows, in the order in which they were first written."""
    return [Row(**row) for row in json.loads(TABLE.read_text())] if TABLE.exists() else []


def keep(row: Row) -> None:
    """Write a row, in place of the one from an earlier run."""
    rows = {(old.scenario, old.host): old for old in read()}
    rows[row.scenario, row.host] = row
    TABLE.write_text(json.dumps([asdict(row) for row in rows.values()], indent=2) + "\n")


def markdown(rows: list[Row]) -> str:
    """The rows as a table of Markdown."""
    lines = [list(HEADINGS.values()), ["---"] * len(HEADINGS)]
    lines += [[_cell(getattr(row, name)) for name in HEADINGS] for row in rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cell(value: object) -> str:
    if value is None:
        return "-"
    return f"{value:+.1f}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    sys.stdout.write(markdown(read()) + "\n")
