"""The loop: what is due is handed to threads, so that a dead host never delays another."""

import logging
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from threading import Event, Lock
from uuid import UUID

from apscheduler.schedulers.background import BackgroundScheduler
from sqlalchemy import Engine
from sqlmodel import Session

from orchestrator.db import reading
from orchestrator.models import utcnow

log = logging.getLogger(__name__)

#: Seconds between two looks at what is due: the longest that a committed change waits.
TICK = 0.25
#: How long a subject rests after a defect of ours.
DEFECT_SECONDS = 30.0
THREADS = 16

Observer = Callable[[str, object, float], None]


@dataclass(frozen=True)
class Work:
    """Something that comes due subject by subject.

    :param due: the subjects whose time has come.
    :param do: settles one of them; called in a thread of its own.
    """

    kind: str
    due: Callable[[Session, datetime], Iterable[UUID]]
    do: Callable[[UUID], object]


@dataclass(frozen=True)
class Chore:
    """Something done every so many seconds."""

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
        self._works = {work.kind: work for work in works}
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="pass")
        self._busy: set[tuple[str, UUID]] = set()
        self._lock = Lock()
        self._closed = Event()
        self._jobs = BackgroundScheduler(
            timezone="UTC", job_defaults={"max_instances": 1, "coalesce": True}
        )
        self._jobs.add_job(self._tick, "interval", seconds=TICK, id="tick")
        for chore in chores:
            self._jobs.add_job(chore.do, "interval", seconds=chore.seconds, id=chore.name)

    def start(self) -> None:
        """Begin; returns at once."""
        self._jobs.start()

    def close(self) -> None:
        """Stop taking up work and wait for what is under way."""
        self._closed.set()
        self._jobs.shutdown(wait=True)
        self._threads.shutdown(wait=True)

    def _tick(self) -> None:
        now = utcnow()
        with reading(self._engine) as session:
            due = [(w.kind, key) for w in self._works.values() for key in w.due(session, now)]
        for kind, subject in due:
            self._submit(kind, subject)

    def _submit(self, kind: str, subject: UUID) -> None:
        with self._lock:
            if (kind, subject) in self._busy:
                return
            self._busy.add((kind, subject))
        self._threads.submit(self._run, kind, subject)

    def _run(self, kind: str, subject: UUID) -> None:
        started = time.monotonic()
        try:
            result = self._attempt(kind, subject)
            self._observer(kind, result, time.monotonic() - started)
            if isinstance(result, Exception):
                self._closed.wait(DEFECT_SECONDS)
        finally:
            with self._lock:
                self._busy.discard((kind, subject))

    def _attempt(self, kind: str, subject: UUID) -> object:
        try:
            return self._works[kind].do(subject)
        except Exception as error:
            # One subject's defect must not end the loop for the others, nor spin.
            log.exception("a pass over %s %s failed", kind, subject)
            return error
