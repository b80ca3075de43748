"""Fleets of 10, 100 and 1,000 simulated hosts: what a pass costs each, and what a change costs.

Each fleet is measured in a process of its own, so that memory can be told.
"""

import gc
import multiprocessing
import queue
import statistics
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

from sqlmodel import col, select, update

from bench import seed
from bench.measure import percentile, profile, rss_kib
from bench.options import Options
from bench.report import Report, Target
from bench.simfleet import SimFleet
from orchestrator import db, duties
from orchestrator.control import ControlPlane
from orchestrator.models import Address, Host, Mailbox
from orchestrator.results import Result
from orchestrator.scheduler import THREADS, Scheduler
from orchestrator.secrets import Vault
from orchestrator.services.wake import wake
from orchestrator.settings import Settings

SIZES = (10, 100, 1000)
CPU_MS = 5.0
MEMORY_KIB = 300.0
#: A pass or a change in the largest fleet may cost so much more than in the smallest.
FLAT = 1.25
CHANGE_SECONDS = 30.0


@dataclass(frozen=True)
class Figures:
    """One fleet. Times are milliseconds, per host or per change; memory is KiB per host.

    ``changes`` are from the commit until the host holds it, ``waits`` the part of them before
    its pass began.
    """

    size: int
    cold_cpu: float
    cpu: float
    wall: float
    alone_cpu: float
    memory: float
    changes: list[float]
    waits: list[float]
    profile: str


def run(options: Options) -> list[Report]:
    """Two tables: passes without a change, and one change."""
    measured = [_fleet(size, options) for size in (SIZES[:2] if options.quick else SIZES)]
    return [_passes(measured), _changes(measured)]


def _fleet(size: int, options: Options) -> Figures:
    with (
        tempfile.TemporaryDirectory(prefix="mailfleet-bench-") as directory,
        SimFleet(size) as fleet,
        ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process,
    ):
        settings = seed.installation(Path(directory))
        fleet.start(seed.populate(settings, fleet))
        return process.submit(_measure, settings, size, options).result()


def _measure(settings: Settings, size: int, options: Options) -> Figures:
    engine = db.connect(settings.database_url)
    with (
        ControlPlane(engine, settings, Vault(settings.master_key_file)) as control,
        ThreadPoolExecutor(THREADS) as threads,
    ):
        with db.reading(engine) as session:
            hosts = session.exec(select(Host.id).order_by(col(Host.id))).all()

        def one(host_id: UUID) -> None:
            result = control.reconciler.reconcile(host_id)
            assert result.reason is None, result
            assert result.plan.empty, result

        def all_hosts() -> float:
            used = time.process_time()
            list(threads.map(one, hosts))
            return (time.process_time() - used) * 1000 / size

        one(hosts[0])
        before = rss_kib()
        cold = all_hosts()
        warm, walls = [], []
        for _ in range(2 if options.quick else 5):
            started = time.perf_counter()
            warm.append(all_hosts())
            walls.append((time.perf_counter() - started) * 1000 / size)
        gc.collect()
        memory = (rss_kib() - before) / size
        used = time.process_time()
        for host_id in hosts[:100]:
            one(host_id)
        alone = (time.process_time() - used) * 1000 / len(hosts[:100])
        changes, waits = _change(control, hosts[0], options.rounds(50))
        told = profile(lambda: one(hosts[0]), 200) if options.profile else ""
        return Figures(
            size,
            cold,
            statistics.median(warm),
            statistics.median(walls),
            alone,
            memory,
            changes,
            waits,
            told,
        )


def _change(control: ControlPlane, host_id: UUID, times: int) -> tuple[list[float], list[float]]:
    """Change a mailbox of one host so many times, while a reconciler serves the whole fleet."""
    done: queue.SimpleQueue[tuple[float, Result]] = queue.SimpleQueue()

    def observer(_kind: str, outcome: object, _seconds: float) -> None:
        if isinstance(outcome, Result) and not outcome.plan.empty:
            done.put((time.perf_counter(), outcome))

    works = [work for work in duties.works(control) if work.kind == "host"]
    scheduler = Scheduler(control.engine, works, [], observer)
    control.fleet.warm_up()
    scheduler.start()
    changes, waits = [], []
    try:
        for number in range(times + 1):
            with db.writing(control.engine) as session:
                addresses = select(Address.id).where(Address.host_id == host_id)
                mailbox = select(Mailbox.id).where(col(Mailbox.address_id).in_(addresses)).limit(1)
                chosen = session.exec(mailbox).one()
                change = update(Mailbox).where(col(Mailbox.id) == chosen)
                session.exec(change.values(quota_mib=2048 + number))
                wake(session, [host_id])
            committed = time.perf_counter()
            ended, result = done.get(timeout=CHANGE_SECONDS)
            assert result.reason is None, result
            # The first starts the process that pushes.
            if number:
                changes.append((ended - committed) * 1000)
                waits.append(changes[-1] - result.timings["total"])
            # Not in step with the scheduler's clock.
            time.sleep(0.05 + 0.013 * (number % 20))
    finally:
        scheduler.close()
    return changes, waits


def _passes(measured: list[Figures]) -> Report:
    first, last = measured[0], measured[-1]
    return Report(
        title="A pass over a simulated fleet with nothing to change, for each host",
        columns=(
            "hosts",
            "CPU ms, first (connects)",
            f"CPU ms, {THREADS} threads",
            "CPU ms, 1 thread",
            "wall ms",
            "memory KiB",
            f"x {first.size} hosts",
        ),
        rows=[
            (m.size, m.cold_cpu, m.cpu, m.alone_cpu, m.wall, m.memory, m.cpu / first.cpu)
            for m in measured
        ],
        targets=[
            Target("CPU of a pass", last.cpu, CPU_MS, "ms"),
            Target("memory for a host", last.memory, MEMORY_KIB, "KiB"),
            Target(f"{last.size} hosts of {first.size}, each", last.cpu / first.cpu, FLAT, "x"),
        ],
        profiles=[m.profile for m in measured[-1:] if m.profile],
    )


def _changes(measured: list[Figures]) -> Report:
    first, last = (statistics.median(m.changes) for m in (measured[0], measured[-1]))
    rows = []
    for m in measured:
        figures = (statistics.median(m.changes), percentile(m.changes, 0.95))
        middle = statistics.median(m.changes)
        rows.append((m.size, *figures, statistics.median(m.waits), middle / first))
    return Report(
        title="One changed mailbox in a simulated fleet, from commit to held, milliseconds",
        columns=("hosts", "median", "p95", "of it before the pass", f"x {measured[0].size} hosts"),
        rows=rows,
        targets=[Target("a change in the largest fleet, of the smallest", last / first, FLAT, "x")],
    )
