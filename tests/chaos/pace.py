"""Passes over a host that nothing is wrong with, timed while another one suffers."""

import statistics
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

#: Fewest passes that a median is taken from.
LEAST = 8
#: Seconds between two passes.
PAUSE = 0.05
#: Share by which another host may be delayed.
TOLERATED = 0.10
#: Milliseconds by which two medians differ on a loaded machine with two cores, with nothing wrong.
NOISE = 100.0


@contextmanager
def pacing(one_pass: Callable[[], object], taken: list[float]) -> Iterator[None]:
    """Time passes in milliseconds, for the length of the block and until enough are taken."""
    failures: list[BaseException] = []
    ended = threading.Event()

    def work() -> None:
        try:
            while not ended.is_set() or len(taken) < LEAST:
                started = time.monotonic()
                one_pass()
                taken.append((time.monotonic() - started) * 1000)
                time.sleep(PAUSE)
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=work, name="pace")
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
    for failure in failures:
        raise failure


def delayed(calm: list[float], suffering: list[float]) -> bool:
    """Whether that is more than is tolerated, the spread of the calm passes and noise together.

    Whoever waits for another host waits for its time-outs, and those are seconds.
    """
    longer = statistics.median(suffering) - statistics.median(calm)
    tolerated = TOLERATED * statistics.median(calm)
    return longer > tolerated + (max(calm) - min(calm)) + NOISE
