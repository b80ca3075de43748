"""A real SMTP server in this process that can be told to refuse, to hang up and to be silent."""

import asyncio
import dataclasses
import datetime
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from orchestrator.mail.types import MailboxAccess

HOST = "mx1.fleetlab.net"
PASSWORD = "pässword"


def certificate(folder: Path) -> Path:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, HOST)])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(HOST)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = folder / "cert.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    pem.write_bytes(private + made.public_bytes(serialization.Encoding.PEM))
    return pem


async def _abort(server: SMTP) -> None:
    if isinstance(server.transport, asyncio.Transport):
        server.transport.abort()
    # The transport below TLS is closed a few turns of the loop later.
    for _ in range(10):
        await asyncio.sleep(0)


class Handler:
    """Accepts lena, refuses everybody else."""

    def __init__(self) -> None:
        #: All that came, and for whom.
        self.contents: list[bytes] = []
        self.recipients: list[list[str]] = []
        #: The answer to what came; None hangs up instead.
        self.answer: str | None = "250 2.0.0 Ok: queued as 4711"
        #: One for each connection.
        self.servers: list[SMTP] = []

    def hang_up(self) -> None:
        """Close every connection, as a server does that was idle for too long."""
        for server in self.servers:
            asyncio.run_coroutine_threadsafe(_abort(server), server.loop).result()

    async def handle_EHLO(  # noqa: N802 - aiosmtpd's
        self,
        server: SMTP,
        session: Session,
        envelope: Envelope,
        hostname: str,
        responses: list[str],
    ) -> list[str]:
        session.host_name = hostname
        if server not in self.servers:
            self.servers.append(server)
        return responses

    async def handle_RCPT(  # noqa: N802 - aiosmtpd's name
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if address.startswith("lena"):
            envelope.rcpt_tos.append(address)
            return "250 2.1.5 Ok"
        return "552 5.2.2 Mailbox full"

    async def handle_DATA(  # noqa: N802 - aiosmtpd's name
        self, server: SMTP, session: Session, envelope: Envelope
    ) -> str:
        self.contents.append(bytes(envelope.original_content or b""))
        self.recipients.append(list(envelope.rcpt_tos))
        if self.answer is None:
            await _abort(server)
            return "421 gone"
        return self.answer


class Server:
    def __init__(self, folder: Path, *, offers_auth: bool = True) -> None:
        pem = certificate(folder)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pem)
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        self.handler = Handler()
        self.logins = {"alice@acme.com": PASSWORD}
        self.controller = Controller(
            self.handler,
            hostname="127.0.0.1",
            port=port,
            tls_context=context,
            require_starttls=True,
            authenticator=self.authenticate,
            auth_required=True,
            auth_exclude_mechanism=() if offers_auth else ("PLAIN",),
        )
        self.access = MailboxAccess(
            "alice@acme.com", PASSWORD, HOST, "127.0.0.1", pem, submission_port=port, timeout=5.0
        )

    def redirect(self, access: MailboxAccess) -> MailboxAccess:
        """The same login, at this server."""
        self.logins[access.email] = access.password
        mine = self.access
        return dataclasses.replace(
            access, address=mine.address, ca_file=mine.ca_file, submission_port=mine.submission_port
        )

    def authenticate(
        self,
        server: SMTP,
        session: Session,
        envelope: Envelope,
        mechanism: str,
        data: LoginPassword,
    ) -> AuthResult:
        right = self.logins.get(data.login.decode()) == data.password.decode()
        return AuthResult(success=right, handled=False)

    @classmethod
    @contextmanager
    def running(cls, folder: Path, *, offers_auth: bool = True) -> "Iterator[Server]":
        server = cls(folder, offers_auth=offers_auth)
        server.controller.start()
        yield server
        server.handler.hang_up()
        server.controller.stop()
