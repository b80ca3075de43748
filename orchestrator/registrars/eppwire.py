"""A session with an EPP server: TLS, frames, login (RFC 5734, RFC 5730)."""

import contextlib
import socket
import ssl
import struct
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from uuid_utils.compat import uuid7

from orchestrator.registrars import eppxml
from orchestrator.registrars.eppxml import Response
from orchestrator.registrars.registrar import RegistrarAway, RegistrarRefusal

#: A frame's header: its length in octets, these four included (RFC 5734 section 4).
HEADER = struct.Struct("!I")
#: No response of ours is as long.
LONGEST = 1024 * 1024
#: Codes that tell of the server, the account or the session, not of the name: try again later.
TEMPORARY = frozenset({2104, 2200, 2201, 2400, 2500, 2501, 2502})


@dataclass(frozen=True)
class Account:
    """Where and as whom to log in; ``timeout`` is in seconds, for each response."""

    host: str
    port: int
    client_id: str
    password: str = field(repr=False)
    certificate_file: Path | None = None
    key_file: Path | None = None
    ca_file: Path | None = None
    timeout: float = 30.0


def reference() -> str:
    """A name for a transaction (``clTRID``, 3 to 64 characters)."""
    return f"MF-{uuid7().hex}"


class Session:
    """A logged-in session for the block of a ``with``.

    :raises RegistrarAway: when it can't be had, or breaks.
    """

    def __init__(self, account: Account) -> None:
        self._account = account

    def __enter__(self) -> Self:
        account = self._account
        try:
            context = ssl.create_default_context(cafile=account.ca_file)
            if account.certificate_file is not None:
                context.load_cert_chain(account.certificate_file, account.key_file)
            plain = socket.create_connection((account.host, account.port), account.timeout)
            try:
                self._socket = context.wrap_socket(plain, server_hostname=account.host)
            except BaseException:
                plain.close()
                raise
        except OSError as error:
            raise RegistrarAway(f"the registrar {account.host} can't be reached: {error}") from None
        try:
            self._read()
            self.send(eppxml.login(account.client_id, account.password, reference()))
        except BaseException:
            self._socket.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with contextlib.suppress(RegistrarAway, RegistrarRefusal):
            self.send(eppxml.logout(reference()))
        self._socket.close()

    def send(self, command: bytes, *, accept: frozenset[int] = frozenset()) -> Response:
        """Send a command and read its response.

        :param accept: codes of failures that the caller takes for an answer.
        :raises RegistrarRefusal: when the server says no to the command.
        :raises RegistrarAway: when it says so of itself, or says nothing.
        """
        try:
            self._socket.sendall(HEADER.pack(len(command) + HEADER.size) + command)
        except OSError as error:
            raise RegistrarAway(f"the connection to the registrar broke: {error}") from None
        response = self._read()
        if response.code < 2000 or response.code in accept:
            return response
        text = f"the registrar says {response.code} {response.message}"
        raise (RegistrarAway if response.code in TEMPORARY else RegistrarRefusal)(text)

    def _read(self) -> Response:
        (length,) = HEADER.unpack(self._receive(HEADER.size))
        if not HEADER.size < length <= LONGEST:
            raise RegistrarAway(f"the registrar sent a frame of {length} octets")
        return eppxml.parse(self._receive(length - HEADER.size))

    def _receive(self, count: int) -> bytes:
        parts = bytearray()
        try:
            while len(parts) < count:
                part = self._socket.recv(count - len(parts))
                if not part:
                    raise RegistrarAway("the registrar closed the connection")
                parts += part
        except OSError as error:
            raise RegistrarAway(f"the connection to the registrar broke: {error}") from None
        return bytes(parts)
