"""The processes that push, and the queue in front of them."""

import queue
import subprocess
import sys
import threading

import msgspec

from orchestrator.conditions import Reason
from orchestrator.hosts.jobs import Job, Outcome


class Workers:
    """Up to ``count`` processes, started when needed and kept warm.

    A worker that dies or exceeds its time is replaced; the host's next probe tells how far it
    came.
    """

    def __init__(self, count: int) -> None:
        self._count = count
        self._idle: queue.LifoQueue[subprocess.Popen[str] | None] = queue.LifoQueue()
        for _ in range(count):
            self._idle.put(None)

    @property
    def busy(self) -> int:
        """How many of them push at this moment."""
        return self._count - self._idle.qsize()

    def run(self, job: Job) -> Outcome:
        """Push one job and wait for its outcome, at most twice the job's time limit."""
        process = self._idle.get()
        if process is None or process.poll() is not None:
            process = subprocess.Popen(
                [sys.executable, "-m", "orchestrator.hosts.worker"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
                # A terminal's interrupt must not cut a push in the middle.
                start_new_session=True,
            )
        try:
            outcome = _exchange(process, job)
        except BaseException:
            process.kill()
            raise
        finally:
            self._idle.put(process)
        return outcome

    def close(self) -> None:
        """Let every idle worker end."""
        while True:
            try:
                process = self._idle.get_nowait()
            except queue.Empty:
                return
            if process is not None:
                _stop(process)


def _exchange(process: subprocess.Popen[str], job: Job) -> Outcome:
    assert process.stdin is not None
    assert process.stdout is not None
    watchdog = threading.Timer(2.0 * job.timeout, process.kill)
    watchdog.start()
    try:
        process.stdin.write(msgspec.json.encode(job).decode() + "\n")
        process.stdin.flush()
        answer = process.stdout.readline()
    except BrokenPipeError:
        answer = ""
    finally:
        watchdog.cancel()
    if not answer:
        process.kill()
        process.wait()
        return Outcome(Reason.TIMED_OUT, "the pushing process ended before it answered", {})
    return msgspec.json.decode(answer, type=Outcome)


def _stop(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.close()
    try:
        process.wait(timeout=10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    process.stdout.close()
