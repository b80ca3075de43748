"""The control plane's own SMTP receiver: where egress probes arrive, and tell how they came."""

import asyncio
import ipaddress
import logging
import re
import threading
import weakref
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from aiosmtpd.smtp import SMTP, Envelope, Session

from orchestrator.mail.dkim_check import KeyResolver, KeyUnavailableError, aligned_signature

_LOG = logging.getLogger(__name__)

#: Octets that a probe may have.
MAX_SIZE = 64 * 1024
#: Seconds that a client may be silent.
_IDLE_TIMEOUT = 60.0
_TOKEN = re.compile(r"egress-([A-Za-z0-9_-]{1,128})@(.+)", re.IGNORECASE)


@dataclass(frozen=True)
class Arrival:
    """A probe as it arrived. ``dkim_domain`` is the ``d=`` of its valid, aligned signature."""

    token: str
    source_ip: str
    ehlo: str
    dkim_domain: str | None


class ProbeReceiver:
    """Listens on the (address, port) pairs and reports each probe to ``on_arrival``.

    Only ``egress-<token>@<probe_domain>`` is accepted, so it relays nothing. ``on_arrival`` is
    called in a worker thread before the client gets its 250; when it raises, or DNS can't tell
    the DKIM key, the client gets a temporary error and keeps the probe in its queue.
    """

    def __init__(
        self,
        listen: Sequence[tuple[str, int]],
        probe_domain: str,
        on_arrival: Callable[[Arrival], None],
        resolver: KeyResolver,
    ) -> None:
        self._listen = tuple(listen)
        self._probe_domain = probe_domain.lower()
        self._on_arrival = on_arrival
        self._resolver = resolver
        self._thread: threading.Thread | None = None
        self._stop: Callable[[], None] = lambda: None

    def start(self) -> None:
        """Listen. Raises ``OSError`` when an address can't be bound; then none is."""
        assert self._thread is None, "it is started once"
        bound: Future[Callable[[], None]] = Future()
        self._thread = threading.Thread(
            target=lambda: asyncio.run(self._serve(bound)), name="probe-receiver", daemon=True
        )
        self._thread.start()
        try:
            self._stop = bound.result()
        except BaseException:
            self._thread.join()
            self._thread = None
            raise

    def stop(self) -> None:
        """Stop listening; a client that is cut off keeps its probe. Harmless when not started."""
        if self._thread is not None:
            self._stop()
            self._thread.join()
            self._thread = None

    async def _serve(self, bound: "Future[Callable[[], None]]") -> None:
        loop = asyncio.get_running_loop()
        stopped = asyncio.Event()
        clients: weakref.WeakSet[SMTP] = weakref.WeakSet()
        with ThreadPoolExecutor(4, thread_name_prefix="probe") as workers:
            handler = _Handler(self._probe_domain, workers, self._record)

            def accept() -> SMTP:
                client = SMTP(
                    handler,
                    hostname=self._probe_domain,
                    ident="Mailfleet",
                    data_size_limit=MAX_SIZE,
                    timeout=_IDLE_TIMEOUT,
                    loop=loop,
                )
                clients.add(client)
                return client

            def stop() -> None:
                loop.call_soon_threadsafe(stopped.set)

            # Not aiosmtpd's Controller: it makes a thread for each address, connects to
            # itself, and leaks its event loop when the address can't be bound.
            servers: list[asyncio.Server] = []
            try:
                for address, port in self._listen:
                    servers.append(await loop.create_server(accept, address, port))
                bound.set_result(stop)
                await stopped.wait()
            except Exception as error:  # whatever it is, ``start`` must hear of it
                bound.set_exception(error)
            for server in servers:
                server.close()
                await server.wait_closed()
            for client in clients:
                if client.transport is not None:
                    client.transport.close()

    def _record(self, token: str, source_ip: str, ehlo: str, content: bytes) -> str:
        try:
            domain = aligned_signature(content, self._resolver)
            self._on_arrival(Arrival(token, source_ip, ehlo, domain))
        except KeyUnavailableError as error:
            # Unknown is not invalid: the probe comes again.
            return f"451 4.4.3 The DKIM key {error} couldn't be looked up"
        except Exception:
            _LOG.exception("the arrival of a probe from %s couldn't be recorded", source_ip)
            return "451 4.3.0 The arrival couldn't be recorded"
        return "250 2.0.0 Ok: arrived"


class _Handler:
    """aiosmtpd's hooks; their names are its."""

    def __init__(
        self,
        probe_domain: str,
        workers: ThreadPoolExecutor,
        record: Callable[[str, str, str, bytes], str],
    ) -> None:
        self._probe_domain = probe_domain
        self._workers = workers
        self._record = record

    async def handle_RCPT(  # noqa: N802
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        """Accept one recipient that is a probe's."""
        if self._token(address) is None:
            return "550 5.1.1 No such recipient here"
        if envelope.rcpt_tos:
            return "452 4.5.3 One recipient at a time"
        envelope.rcpt_tos.append(address)
        return "250 2.1.5 Ok"

    async def handle_DATA(  # noqa: N802
        self, server: SMTP, session: Session, envelope: Envelope
    ) -> str:
        """Record the probe, off the event loop: DNS and the database block."""
        token = self._token(envelope.rcpt_tos[0])
        assert token is not None, "handle_RCPT lets nothing else in"
        ehlo = session.host_name or ""
        content = bytes(envelope.original_content or b"")
        assert session.peer is not None, "the client is connected"
        source = plain_ip(session.peer[0])
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._workers, self._record, token, source, ehlo, content)

    def _token(self, address: str) -> str | None:
        match = _TOKEN.fullmatch(address)
        return match[1] if match and match[2].lower() == self._probe_domain else None


def plain_ip(address: str) -> str:
    """An address without scope, and IPv4 instead of IPv4-mapped IPv6 (RFC 4291)."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    return str(getattr(ip, "ipv4_mapped", None) or ip)
