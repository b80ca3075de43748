"""Connections to mail servers that are kept for the next request to the same mailbox.

Whoever may use one is decided before, in the database: a pool only knows that address, login and
password are the same. Another password is another key, so that none outlives its change.
"""

import hashlib
import hmac
import secrets
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from orchestrator.errors import OrchestratorError
from orchestrator.mail.types import MailboxAccess

C = TypeVar("C")
T = TypeVar("T")

#: Seconds that an idle connection is kept. Postfix hangs up after 300 s, or 10 s under load.
IDLE_SECONDS = 60.0
#: Idle connections that are kept: to one mailbox, to one host and in all. Dovecot allows ten of a
#: user from one address (mail_max_userip_connections), our hosts' Postfix 50 of a client.
IDLE_OF_MAILBOX = 2
IDLE_OF_HOST = 16
IDLE = 256


@dataclass(frozen=True)
class Dialogue(Generic[C]):
    """How connections of one protocol are handled.

    ``alive`` asks the server and raises nothing; ``broken`` are the exceptions after which a
    connection is of no more use; ``repeatable`` says whether what it was used for last may be
    done once more on another one.
    """

    open: Callable[[MailboxAccess], C]
    alive: Callable[[C], bool]
    close: Callable[[C], None]
    broken: tuple[type[Exception], ...]
    repeatable: Callable[[C], bool]


@dataclass(frozen=True)
class _Idle(Generic[C]):
    key: bytes
    host: str
    until: float
    connection: C


class Pool(Generic[C]):
    """Hands out connections; any number of threads may use it."""

    def __init__(self, dialogue: Dialogue[C], *, idle_seconds: float = IDLE_SECONDS) -> None:
        self._dialogue = dialogue
        self._idle_seconds = idle_seconds
        # Of this process alone: the keys tell nothing about the passwords.
        self._secret = secrets.token_bytes(32)
        #: Oldest first.
        self._idle: list[_Idle[C]] = []
        self._changed = threading.Condition()
        self._closed = False
        self._reaper: threading.Thread | None = None

    def run(self, access: MailboxAccess, work: Callable[[C], T]) -> T:
        """Let ``work`` use a connection that nobody else uses meanwhile.

        An ``OrchestratorError`` of it says that the dialogue itself is in order; after any other
        exception the connection is closed. One that was kept and turns out to be broken is
        replaced by a fresh one, once, where what was done may be repeated.
        """
        key = self._key(access)
        kept = self._reuse(key)
        if kept is not None:
            try:
                return self._work(access, key, kept, work)
            except TimeoutError:
                # It isn't broken but slow: another one would have the caller wait twice.
                raise
            except self._dialogue.broken:
                if not self._dialogue.repeatable(kept):
                    raise
        return self._work(access, key, self._dialogue.open(access), work)

    def close(self) -> None:
        """Hang up what is idle now, and what is in use once it is given back."""
        with self._changed:
            self._closed = True
            idle, self._idle = self._idle, []
            self._changed.notify_all()
        self._hang_up(idle)
        if self._reaper is not None:
            self._reaper.join()

    def _key(self, access: MailboxAccess) -> bytes:
        parts = (
            access.email,
            access.password,
            access.host,
            access.address,
            str(access.submission_port),
            str(access.imap_port),
        )
        return hmac.digest(self._secret, "\0".join(parts).encode(), hashlib.sha256)

    def _reuse(self, key: bytes) -> C | None:
        while True:
            with self._changed:
                found = next((entry for entry in reversed(self._idle) if entry.key == key), None)
                if found is None:
                    return None
                self._idle.remove(found)
            if self._dialogue.alive(found.connection):
                return found.connection
            self._dialogue.close(found.connection)

    def _work(self, access: MailboxAccess, key: bytes, connection: C, work: Callable[[C], T]) -> T:
        try:
            result = work(connection)
        except OrchestratorError:
            self._give_back(access, key, connection)
            raise
        except BaseException:
            self._dialogue.close(connection)
            raise
        self._give_back(access, key, connection)
        return result

    def _give_back(self, access: MailboxAccess, key: bytes, connection: C) -> None:
        entry = _Idle(key, access.host, time.monotonic() + self._idle_seconds, connection)
        with self._changed:
            self._idle.append(entry)
            surplus = self._idle if self._closed else self._surplus(entry)
            self._idle = [kept for kept in self._idle if kept not in surplus]
            if self._reaper is None and not self._closed:
                self._reaper = threading.Thread(target=self._reap, name="idle mail", daemon=True)
                self._reaper.start()
            self._changed.notify_all()
        self._hang_up(surplus)

    def _surplus(self, newest: _Idle[C]) -> list[_Idle[C]]:
        mailboxes = Counter(entry.key for entry in self._idle)
        hosts = Counter(entry.host for entry in self._idle)
        if mailboxes[newest.key] > IDLE_OF_MAILBOX:
            return [next(entry for entry in self._idle if entry.key == newest.key)]
        if hosts[newest.host] > IDLE_OF_HOST:
            return [next(entry for entry in self._idle if entry.host == newest.host)]
        return self._idle[: len(self._idle) - IDLE] if len(self._idle) > IDLE else []

    def _reap(self) -> None:
        while True:
            with self._changed:
                if self._closed:
                    return
                now = time.monotonic()
                old = [entry for entry in self._idle if entry.until <= now]
                self._idle = self._idle[len(old) :]
                if not old:
                    self._changed.wait(self._idle[0].until - now if self._idle else None)
            self._hang_up(old)

    def _hang_up(self, entries: Sequence[_Idle[C]]) -> None:
        for entry in entries:
            self._dialogue.close(entry.connection)
