"""One DNS question to one server, bounded in time."""

import time
from collections.abc import Callable

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.query
import dns.rdatatype

#: Asks the server at an IP address and returns its response; the float is seconds in total.
#: Raises ``OSError``, ``EOFError`` or ``dns.exception.DNSException`` when no response is had.
Exchange = Callable[[dns.message.Message, str, float], dns.message.Message]

#: Answers larger than this come truncated and are fetched by TCP: no fragments (RFC 9715).
_UDP_PAYLOAD = 1232

#: Errors that an ``Exchange`` may raise.
EXCHANGE_ERRORS = (OSError, EOFError, dns.exception.DNSException)


class Deadline:
    """A point in time that a whole piece of work must not pass. ``seconds`` from now on."""

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds

    def remaining(self) -> float:
        """Seconds left, never negative."""
        return max(0.0, self._end - time.monotonic())

    def share(self, among: int) -> float:
        """An even part of what is left, for each of ``among`` attempts still to come."""
        return self.remaining() / max(1, among)


def question(
    name: dns.name.Name, rdtype: dns.rdatatype.RdataType, *, recursive: bool
) -> dns.message.Message:
    """A query with EDNS (RFC 6891), and with RD only for a recursive resolver."""
    flags = dns.flags.RD if recursive else dns.flags.Flag(0)
    return dns.message.make_query(name, rdtype, use_edns=0, payload=_UDP_PAYLOAD, flags=flags)


def exchange_on(port: int) -> Exchange:
    """An ``Exchange`` over UDP, repeated once, then over TCP if the response is truncated."""

    def exchange(query: dns.message.Message, server: str, timeout: float) -> dns.message.Message:
        deadline = Deadline(timeout)
        try:
            return _udp(query, server, deadline.share(2), port)
        except dns.exception.Timeout:
            # A datagram may get lost; the second attempt has the rest of the time.
            return _udp(query, server, deadline.remaining(), port)
        except dns.message.Truncated:
            return dns.query.tcp(query, server, timeout=deadline.remaining(), port=port)

    return exchange


def _udp(query: dns.message.Message, server: str, timeout: float, port: int) -> dns.message.Message:
    # Datagrams from elsewhere, for another question or malformed are dropped while waiting
    # for the right one: a forged packet must not be able to end the query (RFC 5452).
    return dns.query.udp(
        query,
        server,
        timeout=timeout,
        port=port,
        ignore_unexpected=True,
        ignore_errors=True,
        raise_on_truncation=True,
    )
