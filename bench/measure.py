"""Clocks: paired runs, percentiles, what a process used, and where the time went."""

import cProfile
import os
import pstats
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from io import StringIO
from pathlib import Path

PAGE_KIB = os.sysconf("SC_PAGE_SIZE") // 1024


def timed(work: Callable[[], object]) -> float:
    """Milliseconds that one run takes."""
    started = time.perf_counter()
    work()
    return (time.perf_counter() - started) * 1000


def interleaved(
    works: Mapping[str, Callable[[], object]], rounds: int, *, warm: bool = True
) -> dict[str, list[float]]:
    """Milliseconds of each run; the works take turns, so that a busy moment meets all of them.

    :param warm: run each once before, not counted.
    """
    if warm:
        for work in works.values():
            work()
    taken: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(rounds):
        for name, work in works.items():
            taken[name].append(timed(work))
    return taken


def paired_ratio(taken: Sequence[float], base: Sequence[float]) -> float:
    """The median of the ratios of runs that stood side by side."""
    return statistics.median(a / b for a, b in zip(taken, base, strict=True))


def percentile(taken: Sequence[float], share: float) -> float:
    """The value below which that share (0 to 1) of them lies; the largest for few samples."""
    ordered = sorted(taken)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def rss_kib() -> int:
    """Resident memory of this process."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE_KIB


def profile(work: Callable[[], object], runs: int, lines: int = 25) -> str:
    """Where the time of one thread goes: functions by their own time, milliseconds a run.

    What other threads use (SSH transports decrypt in their own) is the last line.
    """
    profiler = cProfile.Profile()
    cpu, own = time.process_time(), time.thread_time()
    profiler.enable()
    for _ in range(runs):
        work()
    profiler.disable()
    own = time.thread_time() - own
    others = time.process_time() - cpu - own
    text = StringIO()
    stats = pstats.Stats(profiler, stream=text).strip_dirs()
    stats.sort_stats("tottime").print_stats(lines)
    stats.sort_stats("cumulative").print_stats("orchestrator|sqlalchemy|session|transport", lines)
    text.write(
        f"CPU a run: {own / runs * 1000:.2f} ms in this thread (slowed by the profiler), "
        f"{others / runs * 1000:.2f} ms in others\n"
    )
    return text.getvalue()
