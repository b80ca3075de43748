"""Leases: at most one pass at a time holds a host, and a dead one holds it no longer than that."""

import logging
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import ColumnElement, Engine, or_, update
from sqlalchemy.exc import SQLAlchemyError
from sqlmodel import col

from orchestrator.db import writing
from orchestrator.models import Host, utcnow

log = logging.getLogger(__name__)


def unheld(now: datetime, seconds: float) -> ColumnElement[bool]:
    """Whether no pass holds a host: it has no lease, or one that has run out.

    One that ends later than any could that was taken lately is from a clock that was wrong.

    :param seconds: how long a lease outlives its holder.
    """
    until = col(Host.lease_until)
    return or_(until.is_(None), until < now, until > now + timedelta(seconds=2 * seconds))


class Leases:
    """The leases of one process, renewed by a thread for as long as they are held.

    ``owner`` names this process. :param seconds: how long a lease outlives its holder.
    """

    def __init__(self, engine: Engine, seconds: float) -> None:
        self._engine = engine
        self._seconds = seconds
        self._length = timedelta(seconds=seconds)
        self.owner = f"{socket.gethostname()}:{os.getpid()}"
        self._held: set[UUID] = set()
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._renewer = threading.Thread(
            target=self._renew, args=(seconds / 3,), name="leases", daemon=True
        )
        self._renewer.start()

    @contextmanager
    def hold(self, host_id: UUID) -> Iterator[bool]:
        """Try to take the host for the block; gives whether that succeeded."""
        taken = self._take(host_id)
        try:
            yield taken
        finally:
            if taken:
                self._give_back(host_id)

    def close(self) -> None:
        """Stop renewing."""
        self._stop.set()
        self._renewer.join()

    def _take(self, host_id: UUID) -> bool:
        now = utcnow()
        claim = (
            update(Host)
            .where(col(Host.id) == host_id, unheld(now, self._seconds))
            .values(lease_owner=self.owner, lease_until=now + self._length)
        )
        with writing(self._engine) as session:
            taken = bool(session.connection().execute(claim).rowcount)
        if taken:
            with self._lock:
                self._held.add(host_id)
        return taken

    def _give_back(self, host_id: UUID) -> None:
        with self._lock:
            self._held.discard(host_id)
        release = (
            update(Host)
            .where(col(Host.id) == host_id, col(Host.lease_owner) == self.owner)
            .values(lease_owner=None, lease_until=None)
        )
        with writing(self._engine) as session:
            session.connection().execute(release)

    def _renew(self, every: float) -> None:
        while not self._stop.wait(every):
            with self._lock:
                held = list(self._held)
            if held:
                try:
                    self._extend(held)
                except SQLAlchemyError:
                    # A database that is gone for a moment must not end the renewing for ever.
                    log.exception("leases could not be renewed")

    def _extend(self, held: list[UUID]) -> None:
        renewal = (
            update(Host)
            .where(col(Host.id).in_(held), col(Host.lease_owner) == self.owner)
            .values(lease_until=utcnow() + self._length)
        )
        with writing(self._engine) as session:
            session.connection().execute(renewal)
