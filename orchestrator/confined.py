"""Work on what strangers wrote, in processes that are killed when it takes too long or too much.

Python can't stop a thread. A process of its own can be killed, and the system bounds its memory.
"""

import multiprocessing
import resource
import threading
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from pebble import ProcessExpired, ProcessPool

P = ParamSpec("P")
T = TypeVar("T")

#: Tasks at a time; further ones wait.
WORKERS = 2
#: Address space of one worker, in bytes: several times the largest message.
MEMORY = 1024 * 1024 * 1024
#: A worker is replaced after so many tasks: what one tenant's left behind ends with it.
TASKS = 1000


class ExceededError(Exception):
    """The task took more time or memory than it may."""


class Confined:
    """A few worker processes. The first task starts them; ``close`` ends them."""

    def __init__(self, workers: int = WORKERS, memory: int = MEMORY) -> None:
        self._workers = workers
        self._memory = memory
        self._lock = threading.Lock()
        self._pool: ProcessPool | None = None

    def run(self, seconds: float, task: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """What ``task`` returns or raises; both it and its arguments must be picklable.

        :param seconds: that it may take, once it is its turn.
        :raises ExceededError: when it took longer, or more memory than a worker has.
        """
        try:
            future = self._started().schedule(task, args=args, kwargs=kwargs, timeout=seconds)
            return future.result()
        except TimeoutError:
            raise ExceededError(f"it takes longer than {seconds:g} s") from None
        except (MemoryError, ProcessExpired):
            raise ExceededError("it takes too much memory") from None

    def close(self) -> None:
        """Kill what is under way."""
        with self._lock:
            pool, self._pool = self._pool, None
        if pool is not None:
            pool.stop()  # type: ignore[no-untyped-call]  # Pebble's own omission
            pool.join()

    def _started(self) -> ProcessPool:
        with self._lock:
            if self._pool is None:
                # Not fork: it would copy locks that other threads hold. Not spawn: whenever a
                # worker was killed, the next one would import everything again.
                context = multiprocessing.get_context("forkserver")
                context.set_forkserver_preload(
                    ["orchestrator.mail.parsing", "orchestrator.mail.templating"]
                )
                self._pool = ProcessPool(
                    self._workers,
                    TASKS,
                    initializer=_limit,
                    initargs=[self._memory],
                    context=context,
                )
            return self._pool


def _limit(memory: int) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    # A killed task must not leave its memory on the disk.
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
