"""The benchmarks, run by hand and never as tests.

Example: ``make bench``, or ``python -m bench noop --quick``
"""

import json
import signal
import sys
from pathlib import Path

import rich_click as click
from rich.console import Console

from bench import api, fleet, large, latency, noop, reading, send
from bench.options import Options

BENCHMARKS = {
    "noop": noop.run,
    "latency": latency.run,
    "fleet": fleet.run,
    "large": large.run,
    "api": api.run,
    "send": send.run,
    "reading": reading.run,
}


@click.command()
@click.argument("names", nargs=-1, type=click.Choice(list(BENCHMARKS)))
@click.option("--quick", is_flag=True, help="Few samples: to see that it works.")
@click.option("--profile", is_flag=True, help="Show where the time goes.")
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Write the figures.")
@click.option("--markdown", type=click.Path(path_type=Path), help="Write the tables.")
def main(
    names: tuple[str, ...],
    quick: bool,
    profile: bool,
    json_file: Path | None,
    markdown: Path | None,
) -> None:
    """Measure all, or only what is named, and print tables beside what was promised."""
    # What was changed on the way is put back, however it ends.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended by a signal"))
    console = Console(width=None if Console().is_terminal else 120)
    options = Options(quick, profile)
    reports = []
    for name in names or BENCHMARKS:
        for report in BENCHMARKS[name](options):
            report.print(console)
            reports.append(report)
    if json_file:
        json_file.write_text(json.dumps([report.as_dict() for report in reports], indent=2))
    if markdown:
        markdown.write_text("\n".join(report.markdown() for report in reports))


if __name__ == "__main__":
    main()
