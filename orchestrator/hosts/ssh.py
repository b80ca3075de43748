"""SSH as we use it: known keys only, no Nagle, a time limit on everything, warm connections."""

import base64
import contextlib
import hashlib
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import paramiko

from orchestrator.conditions import Reason
from orchestrator.hosts.errors import HostError

#: paramiko remembers every channel that a connection ever had, so connections are replaced.
CHANNELS_PER_CONNECTION = 1000
KEEPALIVE_SECONDS = 15
#: How long a connection's thread sleeps when nothing comes.
IDLE_SECONDS = 5.0


@dataclass(frozen=True)
class SshTarget:
    """Where and as whom to log in. ``host_key`` is ``<type> <base64>``, as enrolled."""

    name: str
    address: str
    port: int
    user: str
    host_key: str
    key_file: Path
    connect_timeout: float
    command_timeout: float


@dataclass(frozen=True)
class Completed:
    """What a command on a host gave back."""

    status: int
    stdout: str
    stderr: str


def open_socket(address: str, port: int, timeout: float) -> socket.socket:
    """Connect over TCP without Nagle's delay: paramiko leaves it on, which costs 40 ms a turn.

    :param timeout: seconds to wait for the connection.
    :raises OSError: when there is nobody.
    """
    connection = socket.create_connection((address, port), timeout)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def fingerprint(host_key: str) -> str:
    """The form that ``ssh`` shows: ``SHA256:…`` of a ``<type> <base64>`` key."""
    digest = hashlib.sha256(base64.b64decode(host_key.split()[1])).digest()
    return "SHA256:" + base64.b64encode(digest).decode().rstrip("=")


def scan_host_key(address: str, port: int, timeout: float) -> str:
    """Ask a host for its key, as ``ssh-keyscan`` does: it proves nothing until it is compared.

    :returns: ``<type> <base64>``.
    :raises HostError: when there is no SSH server.
    """
    try:
        with open_socket(address, port, timeout) as connection:
            transport = paramiko.Transport(connection)
            try:
                transport.start_client(timeout=timeout)
                key = transport.get_remote_server_key()
            finally:
                transport.close()
    except (OSError, paramiko.SSHException, EOFError) as error:
        raise HostError(Reason.UNREACHABLE, f"no SSH server answers there: {error}") from None
    return f"{key.get_name()} {key.get_base64()}"


def connect(target: SshTarget) -> paramiko.SSHClient:
    """Log in.

    :raises HostError: Unreachable, HostKeyChanged or SshKeyRefused.
    """
    kind, encoded = target.host_key.split()[:2]
    client = paramiko.SSHClient()
    client.set_missing_host_key_policy(paramiko.RejectPolicy())
    known_as = target.address if target.port == 22 else f"[{target.address}]:{target.port}"
    client.get_host_keys().add(
        known_as, kind, paramiko.PKey.from_type_string(kind, base64.b64decode(encoded))
    )
    try:
        client.connect(
            target.address,
            port=target.port,
            username=target.user,
            key_filename=str(target.key_file),
            sock=open_socket(target.address, target.port, target.connect_timeout),
            allow_agent=False,
            look_for_keys=False,
            timeout=target.connect_timeout,
            banner_timeout=target.connect_timeout,
            auth_timeout=target.connect_timeout,
        )
    except paramiko.BadHostKeyException as error:
        client.close()
        seen = fingerprint(f"{error.key.get_name()} {error.key.get_base64()}")
        raise HostError(
            Reason.HOST_KEY_CHANGED,
            f"the host shows the key {seen}, enrolled was {fingerprint(target.host_key)}",
        ) from None
    except paramiko.AuthenticationException:
        client.close()
        raise HostError(
            Reason.SSH_KEY_REFUSED, f"{target.user}@{target.address} refuses {target.key_file.name}"
        ) from None
    except (OSError, paramiko.SSHException, EOFError) as error:
        client.close()
        if "not found in known_hosts" in str(error):
            raise HostError(
                Reason.HOST_KEY_CHANGED, f"the host no longer has its {kind} key"
            ) from None
        raise HostError(Reason.UNREACHABLE, f"can't log in: {error}") from None
    transport = client.get_transport()
    assert transport is not None
    transport.set_keepalive(KEEPALIVE_SECONDS)
    # paramiko wakes ten times a second to see whether it was closed; `close` below tells it.
    transport.sock.settimeout(IDLE_SECONDS)
    return client


def close(client: paramiko.SSHClient) -> None:
    """Close a connection made by ``connect``, at once."""
    transport = client.get_transport()
    if transport is not None:
        with contextlib.suppress(OSError):
            transport.sock.shutdown(socket.SHUT_RDWR)
    client.close()


class Pool:
    """Warm connections, one a host; a broken or worn one is replaced by itself.

    ``logins`` and ``round_trips`` count the connections opened and the commands run so far.
    """

    def __init__(self) -> None:
        self.logins = 0
        self.round_trips = 0
        self._lock = threading.Lock()
        self._idle: dict[SshTarget, list[tuple[paramiko.SSHClient, int]]] = {}

    def run(self, target: SshTarget, command: str, stdin: bytes = b"") -> Completed:
        """Run one command in one round trip, within the target's command time-out.

        :raises HostError: Unreachable, HostKeyChanged, SshKeyRefused or TimedOut.
        """
        try:
            with self._session(target) as channel:
                return _execute(channel, command, stdin, target.command_timeout)
        except TimeoutError:
            raise HostError(
                Reason.TIMED_OUT, f"no answer within {target.command_timeout:g} s"
            ) from None
        except (OSError, EOFError, paramiko.SSHException) as error:
            raise HostError(
                Reason.UNREACHABLE, f"the connection broke: {error or 'closed'}"
            ) from None

    @contextmanager
    def _session(self, target: SshTarget) -> Iterator[paramiko.Channel]:
        client, used, channel = self._open(target)
        try:
            yield channel
        except BaseException:
            close(client)
            raise
        finally:
            channel.close()
        if used >= CHANNELS_PER_CONNECTION:
            close(client)
            return
        with self._lock:
            self._idle.setdefault(target, []).append((client, used))

    def _open(self, target: SshTarget) -> tuple[paramiko.SSHClient, int, paramiko.Channel]:
        with self._lock:
            idle = self._idle.get(target, [])
            client, used = idle.pop() if idle else (None, 0)
            self.round_trips += 1
            self.logins += client is None
        if client is not None:
            # A host that was restarted since leaves a connection that only looks alive.
            with contextlib.suppress(OSError, EOFError, paramiko.SSHException):
                return client, used + 1, _channel(client, target.connect_timeout)
            close(client)
            with self._lock:
                self.logins += 1
        client = connect(target)
        return client, 1, _channel(client, target.connect_timeout)

    def close(self) -> None:
        """Close every idle connection."""
        with self._lock:
            clients = [client for idle in self._idle.values() for client, _ in idle]
            self._idle.clear()
        for client in clients:
            close(client)


def _channel(client: paramiko.SSHClient, timeout: float) -> paramiko.Channel:
    transport = client.get_transport()
    if transport is None:
        raise EOFError
    return transport.open_session(timeout=timeout)


def _execute(channel: paramiko.Channel, command: str, stdin: bytes, timeout: float) -> Completed:
    deadline = time.monotonic() + timeout
    channel.settimeout(timeout)
    channel.exec_command(command)
    channel.sendall(stdin)
    channel.shutdown_write()
    stdout = _read(channel.recv, channel, deadline)
    stderr = _read(channel.recv_stderr, channel, deadline)
    while not channel.exit_status_ready():
        if time.monotonic() > deadline:
            raise TimeoutError
        channel.status_event.wait(max(0.0, deadline - time.monotonic()))
    return Completed(channel.recv_exit_status(), stdout, stderr)


def _read(receive: object, channel: paramiko.Channel, deadline: float) -> str:
    assert callable(receive)
    chunks: list[bytes] = []
    while True:
        channel.settimeout(max(0.001, deadline - time.monotonic()))
        chunk = receive(65536)
        if not chunk:
            return b"".join(chunks).decode(errors="replace")
        chunks.append(chunk)
