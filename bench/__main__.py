"""What a pass costs when nothing changed, on the lab, beside a bare SSH exec of the same checks.

Example: ``make bench``
"""

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from rich.console import Console
from rich.table import Table
from sqlmodel import select

from orchestrator import db, settings
from orchestrator.control import ControlPlane
from orchestrator.fleet import render, watch
from orchestrator.hosts.probe import COMMAND
from orchestrator.models import Host
from orchestrator.secrets import Vault

ROOT = Path(__file__).resolve().parents[1]
CONFIG = ROOT / ".lab" / "mailfleet.toml"
RUNS = 40


def milliseconds(work: Callable[[], object], runs: int) -> list[float]:
    """Time each of so many runs, after one that is not counted."""
    work()
    taken = []
    for _ in range(runs):
        started = time.perf_counter()
        work()
        taken.append((time.perf_counter() - started) * 1000)
    return sorted(taken)


def bench_host(control: ControlPlane, options: settings.Settings, host: Host) -> list[list[float]]:
    """Bare exec on a warm connection, plan, whole pass, and a pyinfra deploy of nothing."""
    with db.reading(control.engine) as session:
        wanted = render(control.fleet.want(session, host))
    target = control.fleet.target(host)
    stdin = watch(wanted).lines().encode()
    pyinfra = [
        *(str(Path(sys.executable).parent / "pyinfra"), "-y", str(ROOT / "inventory/fleet.py")),
        *("--limit", f"@mailfleet/{host.name}", "exec", "--", "true"),
    ]
    environment = {**os.environ, "MAILFLEET_CONFIG": str(CONFIG)}
    return [
        milliseconds(lambda: control.fleet.pool.run(target, COMMAND, stdin), RUNS),
        milliseconds(lambda: control.reconciler.plan(host.id, diffs=False), RUNS),
        milliseconds(lambda: control.reconciler.reconcile(host.id), RUNS),
        milliseconds(
            lambda: subprocess.run(pyinfra, check=True, capture_output=True, env=environment), 3
        ),
    ]


def main() -> None:
    """Print the table."""
    options = settings.load(CONFIG, {})
    engine = db.connect(options.database_url)
    names = ("bare SSH exec of the checks", "plan", "whole pass", "pyinfra deploy of nothing")
    table = Table(title="Nothing to change (milliseconds)", box=None)
    for column in ("host", "what", "min", "median", "p95", "times bare"):
        table.add_column(column, justify="left" if column in ("host", "what") else "right")
    with ControlPlane(engine, options, Vault(options.master_key_file)) as control:
        with db.reading(engine) as session:
            hosts = session.exec(select(Host).order_by(Host.name)).all()
            session.expunge_all()
        for host in hosts:
            rows = bench_host(control, options, host)
            bare = statistics.median(rows[0])
            for name, taken in zip(names, rows, strict=True):
                middle = statistics.median(taken)
                p95 = taken[int(len(taken) * 0.95) - 1]
                figures = (f"{n:.1f}" for n in (taken[0], middle, p95))
                table.add_row(host.name, name, *figures, f"{middle / bare:.2f}")
    Console(width=100).print(table)


if __name__ == "__main__":
    main()
