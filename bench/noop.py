"""What a pass costs when nothing changed, beside the bare checks and beside other tools."""

import statistics
import tempfile
from pathlib import Path

from bench import lab, rivals
from bench.measure import interleaved, paired_ratio, percentile, profile
from bench.options import Options
from bench.report import Report, Target
from bench.rivals import python
from orchestrator import db
from orchestrator.fleet import HostState, render, watch
from orchestrator.hosts import probe
from orchestrator.models import Host
from orchestrator.spec import carried

BARE, PASS = "bare SSH exec of the checks", "Mailfleet, whole pass"
#: How often others are beside the bare exec and beside a pass (issue 3).
TIMES_BARE = 1.5
TIMES_FASTER = 100.0


def run(options: Options) -> list[Report]:
    """One table for each lab host."""
    with lab.borrowed() as borrowed:
        return [_host(borrowed, host, options) for host in borrowed.hosts]


def _host(borrowed: lab.Lab, host: Host, options: Options) -> Report:
    fleet, reconciler = borrowed.control.fleet, borrowed.control.reconciler
    target = fleet.target(host)
    with db.reading(borrowed.engine) as session:
        own = carried(session, host)
        wanted = render(fleet.want(session, host, own), fleet.templates(session, host))
    state = fleet.look(host, wanted)
    if not state.plan.empty:
        raise SystemExit(f"{host.name} is not converged: wait for the lab to settle")
    checks = watch(wanted).lines().encode()

    def bare() -> None:
        fleet.pool.run(target, probe.COMMAND, checks)

    def whole() -> None:
        result = reconciler.reconcile(host.id)
        assert result.reason is None, result

    ours = {
        BARE: bare,
        "Mailfleet, look only (`reconcile plan`)": lambda: reconciler.plan(host.id, diffs=False),
        PASS: whole,
    }
    taken = interleaved(ours, options.rounds(60))
    others = _others(borrowed, host, state, options)
    base = statistics.median(taken[BARE])
    ratio = paired_ratio(taken[PASS], taken[BARE])
    ours_ms = statistics.median(taken[PASS])
    targets = [Target("a pass, of the bare exec", ratio, TIMES_BARE, "x")]
    for name, values in others.items():
        times = statistics.median(values) / ours_ms
        targets.append(Target(f"{name}, of a pass", times, TIMES_FASTER, "x", least=True))
    rows = []
    for name, values in {**taken, **others}.items():
        middle = statistics.median(values)
        figures = (min(values), middle, percentile(values, 0.95))
        rows.append((name, len(values), *figures, middle / base, middle / ours_ms))
    return Report(
        title=f"Nothing to change on {host.name} ({host.os}), milliseconds",
        columns=("", "runs", "min", "median", "p95", "x bare exec", "x a pass"),
        rows=rows,
        targets=targets,
        profiles=[profile(whole, 50)] if options.profile else [],
    )


def _others(
    borrowed: lab.Lab, host: Host, state: HostState, options: Options
) -> dict[str, list[float]]:
    fleet = borrowed.control.fleet
    debs = rivals.DEBS / rivals.SUITES[state.wanted.spec.os]
    with (
        tempfile.TemporaryDirectory(prefix="mailfleet-rivals-") as directory,
        python.installed(fleet.pool, fleet.target(host), debs),
    ):
        tools = rivals.prepare(
            Path(directory) / "state", host, state, borrowed.settings.ssh_key_file
        )
        return interleaved(tools.works(), 1 if options.quick else 5, warm=not options.quick)
