"""A mailbox's mail from one host to another, by Dovecot's own dsync.

The hosts don't trust each other, and need not reach each other: the old one's ``doveadm backup``
and the new one's ``doveadm dsync-server`` speak over two SSH connections of ours. Messages keep
their UIDs, folders their UIDVALIDITY, so no client notices (RFC 3501 section 2.3.1.1). dsync
carries over what differs only, so a second copy is short. The protocol is the same in
Dovecot 2.3 and 2.4.
"""

import shlex
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.resources import files
from threading import Thread
from types import TracebackType
from typing import Literal, NamedTuple, Self

import paramiko

from orchestrator.conditions import Reason
from orchestrator.hosts.errors import HostError
from orchestrator.hosts.ssh import Completed, Pool, SshTarget, close, connect
from orchestrator.hostspec import MailStore, OsName

SCRIPT = files("orchestrator.hosts").joinpath("scripts/mailbox.sh").read_text()
CHUNK = 65536
#: Seconds between two signs of life of a copy.
BEAT_SECONDS = 5.0
#: Exit statuses of the script.
STAYS = 75
SERVED = 77
#: Of ``doveadm sync``: something changed meanwhile, another copy will have it.
AGAIN = 2

Way = Literal["backup", "sync"]


@dataclass(frozen=True)
class MailHost:
    """Where mailboxes are, and which Debian's Dovecot keeps them."""

    ssh: SshTarget
    os: OsName

    def command(self, action: str, store: MailStore, *words: str) -> str:
        """The script's command line for one mailbox."""
        # Dovecot 2.4 wants to be told that the user need not be known; 2.3 takes it so.
        option = "--no-userdb-lookup" if self.os == "debian13" else ""
        argv = ["sh", "-c", SCRIPT, "mailbox", action, store.email, store.home, option]
        return shlex.join([*argv, *words])


class Listing(NamedTuple):
    """All that a mailbox holds: a digest of folders, UIDs, GUIDs and flags; how many messages."""

    digest: str
    messages: int


def listing(pool: Pool, host: MailHost, store: MailStore) -> Listing:
    """What a host holds of a mailbox.

    :raises HostError: CopyFailed, TimedOut or Unreachable.
    """
    digest, messages = _run(pool, host, "list", store).stdout.split()
    return Listing(digest, int(messages))


def evict(pool: Pool, host: MailHost, store: MailStore) -> None:
    """End every session that the mailbox's owner has on a host.

    :raises HostError: InUse when one doesn't end.
    """
    _run(pool, host, "evict", store)


def remove(pool: Pool, host: MailHost, store: MailStore) -> None:
    """Remove a mailbox's mail from a host that doesn't serve it.

    :raises HostError: InUse when the host does serve it.
    """
    _run(pool, host, "remove", store)


def _run(pool: Pool, host: MailHost, action: str, store: MailStore) -> Completed:
    done = pool.run(host.ssh, host.command(action, store))
    if done.status in (STAYS, SERVED):
        raise HostError(Reason.IN_USE, f"{store.email} is in use on {host.ssh.name}")
    if done.status != 0:
        text = f"{action} of {store.email} on {host.ssh.name}: {_last_line(done.stderr)}"
        raise HostError(Reason.COPY_FAILED, text)
    return done


class Courier:
    """A context manager that carries mailboxes from one host to another.

    :param beat: called every few seconds while a copy goes on; what it raises ends the copy.
    :param idle_seconds: how long neither side may say anything.
    :raises HostError: Unreachable, HostKeyChanged or SshKeyRefused.
    """

    def __init__(
        self,
        pool: Pool,
        source: MailHost,
        target: MailHost,
        *,
        beat: Callable[[], None],
        idle_seconds: float,
    ) -> None:
        self._pool = pool
        self._source = source
        self._target = target
        self._beat = beat
        self._idle = idle_seconds

    def __enter__(self) -> Self:
        self._from = connect(self._source.ssh)
        try:
            self._to = connect(self._target.ssh)
        except HostError:
            close(self._from)
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        close(self._from)
        close(self._to)

    def copy(self, store: MailStore) -> None:
        """Make the new host's copy the same as the old host's mailbox.

        A copy that dsync can't bring up to date is removed: the next one begins anew.

        :raises HostError: CopyFailed, TimedOut or Unreachable.
        """
        try:
            self._carry(store, "backup")
        except HostError as error:
            if error.reason is Reason.COPY_FAILED:
                remove(self._pool, self._target, store)
            raise

    def bring_late(self, store: MailStore) -> None:
        """Add to the new host's mailbox, in use by now, what only the old host has.

        :raises HostError: as ``copy``.
        """
        self._carry(store, "sync")

    def _carry(self, store: MailStore, way: Way) -> None:
        sides = (
            _Side(self._from, self._source, self._source.command("send", store, way)),
            _Side(self._to, self._target, self._target.command("receive", store, way)),
        )
        try:
            pumps = [_Pump(sides[0], sides[1]), _Pump(sides[1], sides[0])]
            self._wait(sides, pumps)
        finally:
            for side in sides:
                side.channel.close()
        failed = [side for side in sides if side.status not in (0, AGAIN)]
        if any(side.status == SERVED for side in failed):
            raise HostError(Reason.IN_USE, f"{store.email} is in use on {self._target.ssh.name}")
        if failed:
            text = "; ".join(f"{side.name} says: {side.complaint()}" for side in failed)
            raise HostError(Reason.COPY_FAILED, f"{store.email}: {text}")

    def _wait(self, sides: tuple["_Side", "_Side"], pumps: list["_Pump"]) -> None:
        beaten = time.monotonic()
        while not all(side.channel.exit_status_ready() for side in sides):
            now = time.monotonic()
            if now - max(pump.moved for pump in pumps) > self._idle:
                raise HostError(Reason.TIMED_OUT, f"the copy stood still for {self._idle:g} s")
            if any(not side.alive for side in sides):
                raise HostError(Reason.UNREACHABLE, "the connection broke during the copy")
            if now - beaten > BEAT_SECONDS:
                self._beat()
                beaten = now
            sides[0].channel.status_event.wait(0.02)
            if sides[0].channel.exit_status_ready():
                sides[1].channel.status_event.wait(0.02)


class _Side:
    """One end of the conversation."""

    def __init__(self, client: paramiko.SSHClient, host: MailHost, command: str) -> None:
        transport = client.get_transport()
        assert transport is not None
        self._transport = transport
        self.name = host.ssh.name
        try:
            self.channel = transport.open_session(timeout=host.ssh.command_timeout)
            self.channel.exec_command(command)
        except (OSError, EOFError, paramiko.SSHException) as error:
            text = f"{host.ssh.name}: the connection broke: {error or 'closed'}"
            raise HostError(Reason.UNREACHABLE, text) from None

    @property
    def alive(self) -> bool:
        return self._transport.is_active()

    @property
    def status(self) -> int:
        return self.channel.recv_exit_status()

    def complaint(self) -> str:
        said = b""
        while self.channel.recv_stderr_ready():
            said += self.channel.recv_stderr(CHUNK)
        return _last_line(said.decode(errors="replace")) or f"exit status {self.status}"


class _Pump:
    """Hands on what one side says to the other. ``moved`` is when it last had something."""

    def __init__(self, origin: _Side, destination: _Side) -> None:
        self._origin = origin.channel
        self._destination = destination.channel
        self.moved = time.monotonic()
        Thread(target=self._run, name="dsync", daemon=True).start()

    def _run(self) -> None:
        # Whatever breaks is seen by the one who waits for the two to end.
        try:
            while chunk := self._origin.recv(CHUNK):
                self.moved = time.monotonic()
                self._destination.sendall(chunk)
            self._destination.shutdown_write()
        except (OSError, EOFError, paramiko.SSHException):
            self._destination.close()


def _last_line(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[-1] if lines else ""
