"""One kind of work with threads of its own, and no more taken up than they can begin."""

import time
from collections.abc import Callable, Collection, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from threading import Lock
from uuid import UUID

from sqlalchemy import Engine
from sqlalchemy.exc import InterfaceError, OperationalError
from sqlmodel import Session

from orchestrator.db import reading
from orchestrator.models import utcnow

#: How long a subject rests after a defect of ours, and where the database did not serve us.
DEFECT_SECONDS = 30.0
AWAY_SECONDS = 1.0


class Lane:
    """The subjects of one kind that are under way.

    :param attempt: settles a subject; gives the exception that ended it, or anything else.
    :param ask: called where another look should follow soon; ``asked`` says that it is wanted.
    """

    def __init__(  # noqa: PLR0917 - what a kind of work is
        self,
        engine: Engine,
        due: Callable[[Session, datetime], Iterable[UUID]],
        attempt: Callable[[UUID], object],
        claim: Callable[[Sequence[UUID]], Collection[UUID]] | None,
        threads: int,
        ask: Callable[[], None],
    ) -> None:
        self.asked = False
        self._engine = engine
        self._due = due
        self._attempt = attempt
        self._claim = claim
        self._size = threads
        self._ask = ask
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="pass")
        self._busy: set[UUID] = set()
        self._resting: dict[UUID, float] = {}
        self._left = False
        self._lock = Lock()

    def take_up(self) -> None:
        """Begin what is due, as far as there are threads.

        :raises OperationalError: when the database is away.
        """
        with reading(self._engine) as session:
            due = list(self._due(session, utcnow()))
        wanted = self._choose(due)
        if wanted and self._claim is not None:
            wanted = list(self._claim(wanted))
        with self._lock:
            self._busy.update(wanted)
        for subject in wanted:
            self._threads.submit(self._run, subject)

    def _choose(self, due: list[UUID]) -> list[UUID]:
        now = time.monotonic()
        with self._lock:
            self._resting = {key: until for key, until in self._resting.items() if until > now}
            free = [key for key in due if key not in self._busy and key not in self._resting]
            room = self._size - len(self._busy)
            # What is busy may have come due anew meanwhile: looked at again when it ends.
            self._left = len(free) > room or any(key in self._busy for key in due)
        return free[:room]

    def _run(self, subject: UUID) -> None:
        result = self._attempt(subject)
        with self._lock:
            self._busy.discard(subject)
            if isinstance(result, Exception):
                away = isinstance(result, OperationalError | InterfaceError)
                rest = AWAY_SECONDS if away else DEFECT_SECONDS
                self._resting[subject] = time.monotonic() + rest
            left, self._left = self._left, False
        if left:
            self.asked = True
            self._ask()

    def close(self) -> None:
        """Wait for what is under way."""
        self._threads.shutdown(wait=True, cancel_futures=True)
