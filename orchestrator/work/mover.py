"""Moves addresses: one step after the other, each of them from what the rows and hosts say.

Until a mailbox is switched its old host has all of it, afterwards its new one. In between it is
held: neither host delivers to it or lets anybody open it, so that the last copy is complete.
That lasts a few seconds; mail to it waits in the queue meanwhile.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import cast
from uuid import UUID

from sqlalchemy import Engine
from sqlmodel import Session

from orchestrator.backoff import delay
from orchestrator.conditions import Reason
from orchestrator.db import reading, writing
from orchestrator.errors import Conflict
from orchestrator.fleet import Fleet
from orchestrator.hosts import dsync, postqueue
from orchestrator.hosts.dsync import Courier, Listing, MailHost
from orchestrator.hosts.errors import HostError
from orchestrator.hostspec import MailStore, OsName
from orchestrator.models import Host, Mailbox, Move, MovePhase, Relocation, RelocationState, utcnow
from orchestrator.services import relocations
from orchestrator.services.relocations import Moving
from orchestrator.settings import Settings

#: Mailboxes that are held together.
BATCH = 10
#: Seconds until a move that waits for hosts, for DNS or for a queue is looked at again.
HOST_SECONDS, DNS_SECONDS, QUEUE_SECONDS = 0.2, 1.0, 5.0
#: How long mailboxes may be held until both hosts know of it.
HOLD_SECONDS = 60.0
#: How long a copy may be silent, of a mailbox that is held and of one that is served.
HELD_IDLE_SECONDS, SERVED_IDLE_SECONDS = 30.0, 300.0
#: Dovecot looks at its password file at most once a second.
PASSWORDS_SECONDS = 1.1


class Mover:
    """Takes moves a step further; one instance may serve many threads."""

    def __init__(self, engine: Engine, settings: Settings, fleet: Fleet) -> None:
        self._engine = engine
        self._settings = settings
        self._fleet = fleet

    def advance(self, move_id: UUID) -> None:
        """Take the steps of a move that are due; why one failed is kept with the move."""
        while self._take_step(move_id):
            pass

    def _take_step(self, move_id: UUID) -> bool:
        with writing(self._engine) as session:
            seconds = self._settings.lease_seconds
            claim = relocations.claim(session, move_id, utcnow(), seconds)
        if claim is None:
            return False
        with reading(self._engine) as session:
            move = session.get_one(Move, move_id)
            hosts = relocations.hosts(session, move)
            session.expunge_all()
        step = _Step(self._engine, self._settings, self._fleet, move, claim, hosts)
        # Cancelled meanwhile, or another mover has it: this step has no more to say.
        with suppress(Conflict):
            try:
                step.take()
            except HostError as error:
                step.fail(error)
        return True


class _Step:
    """One step of one move."""

    def __init__(  # noqa: PLR0917 - made in one place
        self,
        engine: Engine,
        settings: Settings,
        fleet: Fleet,
        move: Move,
        claim: str,
        hosts: tuple[Host, Host],
    ) -> None:
        self._engine = engine
        self._settings = settings
        self._pool = fleet.pool
        self._move = move
        self._claim = claim
        self._source, self._target = (_mail_host(fleet, host) for host in hosts)

    def take(self) -> None:
        """Do whatever is next."""
        steps: dict[MovePhase, Callable[[], None]] = {
            MovePhase.PREPARING: self._prepare,
            MovePhase.COPYING: self._copy,
            MovePhase.SWITCHING: self._switch,
            MovePhase.OVERLAPPING: self._overlap,
            MovePhase.CANCELLING: self._cancel,
        }
        steps[self._move.phase]()

    def fail(self, error: HostError) -> None:
        """Keep why the step failed; it is tried again later."""
        with self._changing() as (session, move):
            wait = delay(move.failures + 1)
            relocations.fail(session, move, error.reason, str(error), wait)

    @contextmanager
    def _changing(self) -> Iterator[tuple[Session, Move]]:
        with writing(self._engine) as session:
            yield (
                session,
                relocations.owned(session, self._move.id, self._claim, self._move.phase),
            )

    def _beat(self, message: str | None = None) -> None:
        with self._changing() as (_, move):
            move.due_at = utcnow() + timedelta(seconds=self._settings.lease_seconds)
            move.message = move.message if message is None else message

    def _settled(self) -> bool:
        """Whether both hosts were seen as the rows want them now."""
        with self._changing() as (session, move):
            relocations.settle(session, move)
            waiting = relocations.unsettled(session, move)
            if waiting:
                relocations.note(session, move, waiting, HOST_SECONDS)
            return not waiting

    def _prepare(self) -> None:
        if not self._settled():
            return
        with self._changing() as (session, move):
            waiting = relocations.unproven(session, self._settings, move) or relocations.unseen(
                session, move
            )
            if waiting:
                relocations.note(session, move, waiting, DNS_SECONDS)
            else:
                relocations.enter(session, move, MovePhase.COPYING)

    def _copy(self) -> None:
        self._carry([moving for moving in self._gather() if moving[0].messages is None])
        with self._changing() as (session, move):
            relocations.enter(session, move, MovePhase.SWITCHING)

    def _switch(self) -> None:
        rows = self._gather()
        held = [moving for moving in rows if moving[0].state is RelocationState.HELD]
        if not self._settled():
            since = self._move.settling_since
            if held and since and utcnow() - since > timedelta(seconds=HOLD_SECONDS):
                raise HostError(Reason.TIMED_OUT, "the hosts did not converge in time")
        elif held:
            self._carry_over(held)
        else:
            self._release_queues(rows)
            waiting = [moving for moving in rows if moving[0].state is RelocationState.WAITING]
            self._next_batch(waiting[:BATCH])

    def _next_batch(self, batch: Sequence[Moving]) -> None:
        # Once more while they are served: the copy made while they are held is then short.
        self._carry(batch)
        with self._changing() as (session, move):
            if batch:
                rows = [session.get_one(Relocation, row.id) for row, _ in batch]
                relocations.hold(session, move, rows)
            else:
                relocations.enter(session, move, MovePhase.OVERLAPPING)

    def _carry_over(self, held: Sequence[Moving]) -> None:
        time.sleep(PASSWORDS_SECONDS)
        listings: dict[UUID, Listing] = {}
        with self._courier(HELD_IDLE_SECONDS) as courier:
            for _, mailbox in held:
                self._beat()
                dsync.evict(self._pool, self._source, _store(mailbox))
                courier.copy(_store(mailbox))
                listings[mailbox.id] = self._compare(_store(mailbox))
        with self._changing() as (session, move):
            relocations.switch(session, move, listings)

    def _compare(self, store: MailStore) -> Listing:
        before = dsync.listing(self._pool, self._source, store)
        if dsync.listing(self._pool, self._target, store) != before:
            dsync.remove(self._pool, self._target, store)
            raise HostError(Reason.COPY_FAILED, f"the copy of {store.email} is not the same")
        return before

    def _overlap(self) -> None:
        if not self._settled() or not self._forgotten():
            return
        rows = self._gather()
        if any(row.state is not RelocationState.MOVED for row, _ in rows):
            with self._changing() as (session, move):
                relocations.enter(session, move, MovePhase.SWITCHING)
            return
        if not self._nothing_late(rows):
            return
        for _, mailbox in rows:
            dsync.remove(self._pool, self._source, _store(mailbox))
            self._beat()
        with self._changing() as (session, move):
            relocations.finish(session, move)

    def _forgotten(self) -> bool:
        """Whether nothing names the old address any more, nor waits to leave from it."""
        with self._changing() as (session, move):
            waiting = relocations.named(session, self._settings, move)
            if waiting:
                relocations.note(session, move, waiting, DNS_SECONDS)
                return False
        self._gather()
        with self._changing() as (session, move):
            emails = relocations.senders(session, move)
        queued = postqueue.waiting(self._pool, self._source.ssh, emails)
        if queued:
            text = f"{len(queued)} messages of theirs wait on {self._source.ssh.name}"
            with self._changing() as (session, move):
                relocations.note(session, move, text, QUEUE_SECONDS)
        return not queued

    def _nothing_late(self, rows: Sequence[Moving]) -> bool:
        """Whether nothing came to the old host since; else the new one has it now as well."""
        late = False
        with self._courier(SERVED_IDLE_SECONDS) as courier:
            for row, mailbox in rows:
                if row.listing is None:
                    continue
                self._beat()
                seen = dsync.listing(self._pool, self._source, _store(mailbox)).digest
                if seen != row.listing:
                    late = True
                    courier.bring_late(_store(mailbox))
                    self._keep_listing(row, seen)
        if not late:
            # What is removed next is not compared again: an empty store would look like news.
            for row, _ in rows:
                self._keep_listing(row, None)
        return not late

    def _keep_listing(self, row: Relocation, listing: str | None) -> None:
        with self._changing() as (session, _):
            session.get_one(Relocation, row.id).listing = listing

    def _cancel(self) -> None:
        for _, mailbox in self._gather():
            self._beat()
            dsync.remove(self._pool, self._target, _store(mailbox))
        with self._changing() as (session, move):
            relocations.call_off(session, move)

    def _gather(self) -> list[Moving]:
        with self._changing() as (session, move):
            return relocations.gather(session, move)

    def _carry(self, rows: Sequence[Moving]) -> None:
        if not rows:
            return
        with self._courier(SERVED_IDLE_SECONDS) as courier:
            for row, mailbox in rows:
                self._beat(f"copying {mailbox.email}")
                courier.copy(_store(mailbox))
                messages = dsync.listing(self._pool, self._target, _store(mailbox)).messages
                with self._changing() as (session, _):
                    session.get_one(Relocation, row.id).messages = messages

    def _courier(self, idle_seconds: float) -> Courier:
        return Courier(
            self._pool, self._source, self._target, beat=self._beat, idle_seconds=idle_seconds
        )

    def _release_queues(self, rows: Sequence[Moving]) -> None:
        """Have mail delivered that waited for mailboxes while they were held."""
        emails = [mailbox.email for _, mailbox in rows]
        for host in (self._source, self._target):
            waiting = postqueue.waiting(self._pool, host.ssh, emails)
            postqueue.deliver(self._pool, host.ssh, waiting)


def _mail_host(fleet: Fleet, host: Host) -> MailHost:
    return MailHost(fleet.target(host), cast(OsName, host.os))


def _store(mailbox: Mailbox) -> MailStore:
    return MailStore(mailbox.email, mailbox.directory)
