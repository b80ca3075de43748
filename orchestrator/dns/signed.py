"""Signed conversation (TSIG, RFC 8945) with the primary server of a zone, over TCP."""

import socket
import struct
from dataclasses import dataclass, field

import dns.exception
import dns.message
import dns.name
import dns.rcode
import dns.tsig
import dns.tsigkeyring

from orchestrator.conditions import Reason
from orchestrator.dns.recursion import words
from orchestrator.dns.transport import Deadline

#: What dnspython raises when a TSIG doesn't hold, on the server's side or on ours.
_TSIG_ERRORS = (
    dns.tsig.PeerError,
    dns.tsig.BadSignature,
    dns.tsig.BadTime,
    dns.tsig.BadKey,
    dns.tsig.BadAlgorithm,
    dns.message.UnknownTSIGKey,
)
#: The algorithms of RFC 8945 section 6 and the obsolete ones before them.
_ALGORITHMS = {name for name in dns.tsig.mac_sizes if name != dns.tsig.GSS_TSIG}


@dataclass(frozen=True)
class ZoneKey:
    """A zone that we may update: its primary server (an IP address) and the TSIG key for it."""

    zone: str
    server: str
    port: int
    tsig_name: str
    tsig_algorithm: str
    tsig_secret: str = field(repr=False)


class DnsUpdateError(Exception):
    """A zone couldn't be brought to the wanted state. ``reason`` is for the condition."""

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class SignedSession:
    """Signed questions to a zone's server, all within one ``deadline``.

    Raises ``DnsUpdateError`` with ``TSIG_REJECTED`` for a key that can't be used.
    """

    def __init__(self, key: ZoneKey, deadline: Deadline) -> None:
        self._key = key
        self._deadline = deadline
        algorithm = key.tsig_algorithm.lower().removesuffix(".") + "."
        if dns.name.from_text(algorithm) not in _ALGORITHMS:
            message = f"the TSIG algorithm {key.tsig_algorithm} of {key.tsig_name} is unknown"
            raise DnsUpdateError(Reason.TSIG_REJECTED, message)
        try:
            self._keyring = dns.tsigkeyring.from_text({key.tsig_name: (algorithm, key.tsig_secret)})
        except ValueError as error:
            message = f"the secret of the TSIG key {key.tsig_name} is not base64"
            raise DnsUpdateError(Reason.TSIG_REJECTED, message) from error

    def send(self, query: dns.message.Message) -> dns.message.Message:
        """Sign and send a message; the response, whose signature was verified.

        Only a refusal may be unsigned, since a server can't sign with a key it doesn't know.
        Raises ``DnsUpdateError`` with ``TSIG_REJECTED`` or ``SERVER_UNREACHABLE``.
        """
        key = self._key
        query.use_tsig(self._keyring)
        try:
            response = self._parsed(query, self._exchange(query.to_wire()))
        except _TSIG_ERRORS as error:
            name = type(error).__name__.removeprefix("Peer")
            message = f"{key.server} and we don't agree on the TSIG key {key.tsig_name}: {name}"
            raise DnsUpdateError(Reason.TSIG_REJECTED, message) from error
        except (OSError, EOFError, dns.exception.DNSException) as error:
            message = f"{key.server} port {key.port}/tcp for {key.zone}: {words(error)}"
            raise DnsUpdateError(Reason.SERVER_UNREACHABLE, message) from error
        if not query.is_response(response):
            message = f"{key.server} port {key.port}/tcp answered another question"
            raise DnsUpdateError(Reason.SERVER_UNREACHABLE, message)
        return response

    def refused(self, what: str, code: dns.rcode.Rcode) -> DnsUpdateError:
        """The error for a response code that isn't success."""
        key = self._key
        message = f"{key.server} answered {what} for {key.zone} with {code.name}"
        if code == dns.rcode.NOTAUTH:
            # Knot answers so, unsigned, in each of these cases.
            message += f": it doesn't serve the zone, or not to the TSIG key {key.tsig_name}"
        return DnsUpdateError(Reason.UPDATE_REFUSED, message)

    def _parsed(self, query: dns.message.Message, wire: bytes) -> dns.message.Message:
        unverified = dns.message.from_wire(wire, keyring=False)
        if unverified.had_tsig:
            return dns.message.from_wire(wire, keyring=self._keyring, request_mac=query.mac)
        if unverified.rcode() == dns.rcode.NOERROR:
            message = f"{self._key.server} sent an unsigned answer, so it can't be believed"
            raise DnsUpdateError(Reason.TSIG_REJECTED, message)
        return unverified

    def _exchange(self, wire: bytes) -> bytes:
        """Send one message and receive one, each after its length (RFC 1035 section 4.2.2)."""
        where = (self._key.server, self._key.port)
        with socket.create_connection(where, self._time_left()) as connection:
            connection.sendall(struct.pack("!H", len(wire)) + wire)
            (length,) = struct.unpack("!H", self._read(connection, 2))
            return self._read(connection, length)

    def _read(self, connection: socket.socket, size: int) -> bytes:
        received = b""
        while len(received) < size:
            connection.settimeout(self._time_left())
            part = connection.recv(size - len(received))
            if not part:
                raise EOFError("the server closed the connection")
            received += part
        return received

    def _time_left(self) -> float:
        left = self._deadline.remaining()
        if not left:
            raise TimeoutError
        return left
