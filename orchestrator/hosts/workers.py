"""The processes that push, and the queue in front of them."""

import contextlib
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import msgspec

from orchestrator.conditions import Reason
from orchestrator.hosts.jobs import Job, Outcome

#: How many stay when there is nothing to push.
WARM = 2


@dataclass
class _Worker:
    """A process, and the hosts that it has a warm connection to."""

    process: subprocess.Popen[str]
    hosts: set[str] = field(default_factory=set)


class Workers:
    """Up to ``most`` processes, started when needed and kept warm.

    A slow push occupies its own process only. A worker that dies or exceeds its time is
    replaced; the host's next probe tells how far it came. ``busy`` is how many push now.
    """

    def __init__(self, most: int) -> None:
        self._slots = threading.Semaphore(most)
        self._lock = threading.Lock()
        self._idle: list[_Worker] = []
        self.busy = 0

    def warm_up(self) -> None:
        """Start the processes that stay, so that the first change need not wait for one."""
        with self._lock:
            while len(self._idle) < WARM:
                self._idle.append(_Worker(_spawn()))

    def run(self, job: Job) -> Outcome:
        """Push one job and wait for its outcome, at most twice the job's time limit."""
        with self._slot():
            worker = self._take(job.name)
            answer = ""
            try:
                answer = _exchange(worker.process, job)
            finally:
                if answer:
                    self._put_back(worker)
                else:
                    _kill(worker.process)
        if not answer:
            return Outcome(Reason.TIMED_OUT, "the pushing process ended before it answered", {})
        return msgspec.json.decode(answer, type=Outcome)

    def close(self) -> None:
        """Let every idle worker end."""
        with self._lock:
            idle, self._idle = self._idle, []
        for worker in idle:
            _stop(worker.process)

    @contextmanager
    def _slot(self) -> Iterator[None]:
        with self._slots:
            with self._lock:
                self.busy += 1
            try:
                yield
            finally:
                with self._lock:
                    self.busy -= 1

    def _take(self, host: str) -> _Worker:
        with self._lock:
            known = (worker for worker in self._idle if host in worker.hosts)
            worker = next(known, self._idle[-1] if self._idle else None)
            if worker is not None:
                self._idle.remove(worker)
        if worker is not None and worker.process.poll() is not None:
            _kill(worker.process)
            worker = None
        worker = worker or _Worker(_spawn())
        worker.hosts.add(host)
        return worker

    def _put_back(self, worker: _Worker) -> None:
        with self._lock:
            surplus = len(self._idle) >= WARM
            if not surplus:
                self._idle.append(worker)
        if surplus:
            _stop(worker.process)


def _spawn() -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "orchestrator.hosts.worker"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        # A terminal's interrupt must not cut a push in the middle.
        start_new_session=True,
    )


def _exchange(process: subprocess.Popen[str], job: Job) -> str:
    assert process.stdin is not None
    assert process.stdout is not None
    watchdog = threading.Timer(2.0 * job.timeout, process.kill)
    watchdog.start()
    try:
        process.stdin.write(msgspec.json.encode(job).decode() + "\n")
        process.stdin.flush()
        return process.stdout.readline()
    except BrokenPipeError:
        return ""
    finally:
        watchdog.cancel()


def _stop(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.close()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(timeout=10)
    _kill(process)


def _kill(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout):
        with contextlib.suppress(BrokenPipeError):
            if pipe is not None:
                pipe.close()
