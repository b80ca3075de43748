"""Who does what: any number of reconcilers share a fleet, and nothing is done twice at once.

A host is held by lease: at most one pass at a time has it, and a dead one has it no longer than
that. What is shorter (a look at DNS, a probe) is put off when it is begun, so that whoever dies
over it is replaced when its time comes again.
"""

import contextlib
import os
import secrets
import socket
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Engine, or_, update
from sqlalchemy.exc import SQLAlchemyError
from sqlmodel import Session, col, select

from orchestrator.db import writing
from orchestrator.errors import OrchestratorError
from orchestrator.models import Address, Domain, Host, Registration, utcnow

#: Seconds to the next attempt at renewing where the database was away.
RETRY = 1.0


class LeaseLostError(OrchestratorError):
    """Another reconciler took the host over: this pass was away for longer than its lease."""


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
        # The process's number may be used again, and machines may be called the same.
        self.owner = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(3)}"
        self._held: set[UUID] = set()
        #: Of those: claimed for a pass that has not begun; given back by the pass itself.
        self._waiting: set[UUID] = set()
        self._given: set[UUID] = set()
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._renewer = threading.Thread(
            target=self._keep, args=(seconds / 3,), name="leases", daemon=True
        )
        self._renewer.start()

    def claim(self, host_ids: Sequence[UUID]) -> list[UUID]:
        """Take the hosts for passes that are about to begin.

        :returns: those that nobody else has; what another process is taking now is left to it.
        """
        with self._lock:
            wanted = set(host_ids) - self._held
        now = utcnow()
        # One of our own that is not held was left behind while the database was away.
        free = or_(unheld(now, self._seconds), col(Host.lease_owner) == self.owner)
        values = {"lease_owner": self.owner, "lease_until": now + self._length}
        with writing(self._engine) as session:
            taken = _change(session, Host, wanted, free, values)
        with self._lock:
            self._held.update(taken)
            self._waiting.update(taken)
        return taken

    @contextmanager
    def hold(self, host_id: UUID) -> Iterator[bool]:
        """Have the host for the block, claimed before or taken now; gives whether that is so."""
        if not self._begin(host_id):
            self.claim([host_id])
            if not self._begin(host_id):
                yield False
                return
        try:
            yield True
        finally:
            self._end(host_id)

    def require(self, host: Host) -> None:
        """See that the lease of this row, read for writing, is still ours.

        :raises LeaseLostError: when it is not.
        """
        if host.lease_owner != self.owner:
            raise LeaseLostError(
                f"{host.name} was taken over by {host.lease_owner or 'another pass'}"
            )

    def give_back(self, host: Host) -> None:
        """Let go of the host in the transaction that writes its pass down."""
        host.lease_owner = host.lease_until = None
        with self._lock:
            self._given.add(host.id)

    def close(self) -> None:
        """Stop renewing, and give back what was claimed and not begun."""
        self._stop.set()
        self._renewer.join()
        with self._lock:
            held = set(self._held)
        self._release(held)

    def _begin(self, host_id: UUID) -> bool:
        with self._lock:
            began = host_id in self._waiting
            self._waiting.discard(host_id)
            return began

    def _end(self, host_id: UUID) -> None:
        with self._lock:
            given = host_id in self._given
        if not given:
            self._release({host_id})
        # Only now: a claim of ours in between would be given back with the old one.
        with self._lock:
            self._given.discard(host_id)
            self._held.discard(host_id)

    def _release(self, host_ids: set[UUID]) -> None:
        # Where the database is away, it runs out.
        with contextlib.suppress(SQLAlchemyError):
            self._update(host_ids, {"lease_owner": None, "lease_until": None})

    def renew(self) -> None:
        """Hold what is held for another lease's length.

        :raises SQLAlchemyError: when the database is away.
        """
        with self._lock:
            held = set(self._held)
        self._update(held, {"lease_until": utcnow() + self._length})

    def _update(self, host_ids: set[UUID], values: dict[str, Any]) -> None:
        ours = col(Host.lease_owner) == self.owner
        with writing(self._engine) as session:
            _change(session, Host, host_ids, ours, values, skip_locked=False)

    def _keep(self, every: float) -> None:
        pause = every
        while not self._stop.wait(pause):
            try:
                self.renew()
            except SQLAlchemyError:
                pause = min(RETRY, every)
            else:
                pause = every


def put_off(engine: Engine, due: Any, seconds: float, ids: Iterable[UUID]) -> list[UUID]:
    """Begin what is due: it is due again ``seconds`` from now, unless whoever does it says when.

    :param due: the column that tells when, such as ``Domain.dns_due_at``.
    :returns: those that nobody else has begun.
    """
    now = utcnow()
    with writing(engine) as session:
        values = {due.key: now + timedelta(seconds=seconds)}
        return _change(session, due.class_, ids, col(due) <= now, values)


def _change(
    session: Session,
    table: type[Host] | type[Domain] | type[Address] | type[Registration],
    ids: Iterable[UUID],
    condition: Any,
    values: dict[str, Any],
    *,
    skip_locked: bool = True,
) -> list[UUID]:
    """Change the rows of which the condition holds; gives which. Locked in order of their ids."""
    wanted = list(ids)
    if not wanted:
        return []
    rows = select(table.id).where(col(table.id).in_(wanted), condition).order_by(col(table.id))
    # SQLite knows neither: there the whole statement is one writer's.
    rows = rows.with_for_update(skip_locked=skip_locked, key_share=True)
    change = update(table).where(col(table.id).in_(rows)).values(values).returning(col(table.id))
    return list(session.connection().execute(change).scalars())
