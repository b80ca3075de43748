"""Submits a tenant's message to its host (RFC 6409), as a mail client would."""

import base64
import smtplib
import socket
from collections.abc import Sequence

from orchestrator.errors import Upstream
from orchestrator.mail.connection import connect, tls_context
from orchestrator.mail.pool import IDLE_SECONDS, Dialogue, Pool
from orchestrator.mail.types import MailboxAccess, Prepared, Submission


class SmtpClient(smtplib.SMTP):
    """Connects to the address, but believes only a certificate for the name."""

    def __init__(self, access: MailboxAccess) -> None:
        self._access = access
        #: Whether the server may have been given a whole message since the last transaction began.
        self.data_begun = False
        # EHLO says the sender's domain: our own machine's name is nobody's business.
        super().__init__(
            access.host,
            access.submission_port,
            local_hostname=access.email.rpartition("@")[2],
            timeout=access.timeout,
        )

    def _get_socket(self, host: str, port: int, timeout: float) -> socket.socket:
        return connect(self._access, port, timeout)

    def log_in(self) -> None:
        """STARTTLS, then AUTH PLAIN (RFC 4616; smtplib's own can't send non-ASCII passwords)."""
        self.starttls(context=tls_context(self._access))
        self.ehlo_or_helo_if_needed()
        if "PLAIN" not in str(self.esmtp_features.get("auth", "")).upper().split():
            raise smtplib.SMTPNotSupportedError("the server doesn't offer AUTH PLAIN")
        secret = f"\0{self._access.email}\0{self._access.password}".encode()
        code, text = self.docmd("AUTH", "PLAIN " + base64.b64encode(secret).decode())
        if code != 235:
            raise smtplib.SMTPAuthenticationError(code, text)

    def transfer(self, sender: str, message: Prepared) -> Submission:
        """One mail transaction (RFC 5321 section 3.3).

        :raises Upstream: when the message or all recipients are refused; the session is in order.
        """
        self.data_begun = False
        options = [f"SIZE={len(message.content)}"] if self.has_extn("size") else []
        code, text = self.mail(sender, options)
        if code != 250:
            raise _refused(code, text)
        refusals = self._refusals(message.recipients)
        self.data_begun = True
        try:
            code, text = self.data(message.content)
        except smtplib.SMTPDataError as error:
            raise _refused(error.smtp_code, error.smtp_error) from error
        if code != 250:
            raise _refused(code, text)
        accepted = tuple(to for to in message.recipients if to not in refusals)
        return Submission(
            message.message_id,
            accepted,
            tuple(refusals),
            _words(code, text),
            tuple(refusals.values()),
        )

    def _refusals(self, recipients: Sequence[str]) -> dict[str, str]:
        """The server's words about each recipient that it refuses."""
        refusals: dict[str, str] = {}
        permanent = True
        for recipient in recipients:
            code, text = self.rcpt(recipient)
            if code not in {250, 251}:
                refusals[recipient] = _words(code, text)
                permanent = permanent and code >= 500
                _require_open(code, text)
        if len(refusals) < len(recipients):
            return refusals
        words = [f"{to}: {word}" for to, word in refusals.items()]
        said = refusals[recipients[0]] if len(words) == 1 else "; ".join(words)
        raise Upstream("smtp", said, permanent=permanent)


def _open(access: MailboxAccess) -> SmtpClient:
    client = SmtpClient(access)
    try:
        client.log_in()
    except BaseException:
        client.close()
        raise
    return client


def _alive(client: SmtpClient) -> bool:
    client.data_begun = False
    try:
        return client.rset()[0] == 250
    except (smtplib.SMTPException, OSError):
        return False


def _close(client: SmtpClient) -> None:
    # No QUIT: nothing is lost without it, and a server that hangs would keep us waiting.
    client.close()


def connections(idle_seconds: float = IDLE_SECONDS) -> Pool[SmtpClient]:
    """Sessions that are logged in to port 587 with STARTTLS and AUTH PLAIN."""
    broken = (smtplib.SMTPServerDisconnected, OSError)
    return Pool(
        Dialogue(_open, _alive, _close, broken, lambda client: not client.data_begun),
        idle_seconds=idle_seconds,
    )


def submit(pool: Pool[SmtpClient], access: MailboxAccess, message: Prepared) -> Submission:
    """Hand the message to the mailbox's host; one that some are refused for goes to the others.

    Raises ``Upstream`` with the server's words when nobody is accepted, the login or the message
    is refused, or the host can't be reached or verified. Once its content was on the way, a
    message is never submitted a second time here.
    """
    try:
        return pool.run(access, lambda client: client.transfer(access.email, message))
    except smtplib.SMTPResponseException as error:
        # A refused login isn't permanent: the host may not have heard of the password yet.
        raise Upstream("smtp", _words(error.smtp_code, error.smtp_error)) from error
    except (smtplib.SMTPException, OSError) as error:
        raise Upstream("smtp", f"{access.host}: {error or type(error).__name__}") from error


def _refused(code: int, text: bytes | str) -> Upstream:
    _require_open(code, text)
    return Upstream("smtp", _words(code, text), permanent=code >= 500)


def _require_open(code: int, text: bytes | str) -> None:
    # RFC 5321 section 3.8: with 421 the server hangs up.
    if code == 421:
        raise smtplib.SMTPResponseException(code, text)


def _words(code: int, text: bytes | str) -> str:
    """``550 5.1.1 …``: the server's words on one line."""
    words = text.decode("utf-8", "replace") if isinstance(text, bytes) else text
    return f"{code} {' '.join(words.split())}".strip()
