"""The loop: what is due is handed to threads, so that nothing slow delays anything else."""

import logging
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from threading import Event, Thread
from uuid import UUID

from apscheduler.schedulers.background import BackgroundScheduler
from sqlalchemy import Engine
from sqlalchemy.exc import InterfaceError, OperationalError
from sqlmodel import Session

from orchestrator.db import alone
from orchestrator.lane import Lane
from orchestrator.wakeup import Listener

log = logging.getLogger(__name__)

#: Seconds between two looks at what is due where no wake-up came.
POLL = 1.0
THREADS = 8
#: The database is away, or it did not let us through.
AWAY = (OperationalError, InterfaceError)

Claim = Callable[[Sequence[UUID]], Collection[UUID]]
Observer = Callable[[str, object, float], None]


@dataclass(frozen=True)
class Work:
    """Something that comes due subject by subject.

    :param due: the subjects whose time has come.
    :param do: settles one of them; called in a thread.
    :param claim: of the subjects given, those that no other reconciler has taken: they are ours
        from then on. Without it every reconciler does what is due.
    :param threads: the most subjects at a time; no other kind of work uses these threads.
    """

    kind: str
    due: Callable[[Session, datetime], Iterable[UUID]]
    do: Callable[[UUID], object]
    claim: Claim | None = None
    threads: int = THREADS


@dataclass(frozen=True)
class Chore:
    """Something done every so many seconds, by one reconciler at a time."""

    name: str
    seconds: float
    do: Callable[[], object]


class Scheduler:
    """Runs everything that is due, until it is closed.

    :param observer: told of all that came due: its kind, what it gave back or the exception
        that ended it, and how many seconds it took.
    """

    def __init__(
        self,
        engine: Engine,
        works: Sequence[Work],
        chores: Sequence[Chore],
        observer: Observer,
    ) -> None:
        self._engine = engine
        self._observer = observer
        self._asked = Event()
        self._closed = Event()
        self._away = False
        self._lanes = [
            Lane(engine, w.due, partial(self._attempt, w), w.claim, w.threads, self._asked.set)
            for w in works
        ]
        self._loop = Thread(target=self._run, name="scheduler")
        self._listener: Listener | None = None
        self._jobs = BackgroundScheduler(
            timezone="UTC", job_defaults={"max_instances": 1, "coalesce": True}
        )
        for chore in chores:
            job = partial(self._chore, chore)
            self._jobs.add_job(job, "interval", seconds=chore.seconds, id=chore.name)

    def start(self) -> None:
        """Begin; returns at once."""
        self._loop.start()
        self._listener = Listener(self._engine, self.look)
        self._jobs.start()

    def look(self) -> None:
        """Look at what is due now."""
        for lane in self._lanes:
            lane.asked = True
        self._asked.set()

    def close(self) -> None:
        """Stop taking up work and wait for what is under way."""
        self._closed.set()
        self._asked.set()
        if self._listener is not None:
            self._listener.close()
            self._jobs.shutdown(wait=True)
            self._loop.join()
        for lane in self._lanes:
            lane.close()

    def _run(self) -> None:
        poll_at = 0.0
        while not self._closed.is_set():
            if time.monotonic() >= poll_at:
                poll_at = time.monotonic() + POLL
                self.look()
            self._asked.clear()
            for lane in self._lanes:
                if lane.asked:
                    self._take_up(lane)
            self._asked.wait(max(0.0, poll_at - time.monotonic()))

    def _take_up(self, lane: Lane) -> None:
        lane.asked = False
        try:
            lane.take_up()
        except AWAY as error:
            self._say_away(error)
        except Exception:
            log.exception("what is due can't be told")
        else:
            if self._away:
                self._away = False
                log.warning("the database serves us again")

    def _attempt(self, work: Work, subject: UUID) -> object:
        started = time.monotonic()
        result: object
        try:
            result = work.do(subject)
        except AWAY as error:
            self._say_away(error)
            result = error
        except Exception as error:
            # One subject's defect must not end the loop for the others, nor spin.
            log.exception("a pass over %s %s failed", work.kind, subject)
            result = error
        self._observer(work.kind, result, time.monotonic() - started)
        return result

    def _chore(self, chore: Chore) -> None:
        try:
            with alone(self._engine, chore.name) as ours:
                if ours:
                    chore.do()
        except AWAY as error:
            self._say_away(error)
        except Exception:
            log.exception("the chore %s failed", chore.name)

    def _say_away(self, error: Exception) -> None:
        if not self._away:
            self._away = True
            log.warning("the database does not serve us: %s", str(error).splitlines()[0])
