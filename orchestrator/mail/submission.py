"""Submits a tenant's message to its host (RFC 6409), as a mail client would."""

import base64
import smtplib
import socket
from collections.abc import Sequence

from orchestrator.errors import Upstream
from orchestrator.mail.connection import connect, tls_context
from orchestrator.mail.mime import build, recipients
from orchestrator.mail.types import MailboxAccess, OutgoingMessage, Submission


def submit(access: MailboxAccess, message: OutgoingMessage) -> Submission:
    """Hand the message to port 587 with STARTTLS and AUTH PLAIN.

    A message that some recipients are refused for is sent to the others. Raises ``Invalid``
    for a message that can't be built, and ``Upstream`` with the server's words when nobody is
    accepted, the login or the message is refused, or the host can't be reached or verified.
    """
    mail, message_id = build(access.email, message)
    everybody = recipients(message)
    try:
        with _Client(access) as client:
            client.log_in()
            accepted, rejected, response = client.transfer(access.email, everybody, mail.as_bytes())
    except smtplib.SMTPResponseException as error:
        raise Upstream("smtp", _words(error.smtp_code, error.smtp_error)) from error
    except (smtplib.SMTPException, OSError) as error:
        raise Upstream("smtp", f"{access.host}: {error or type(error).__name__}") from error
    return Submission(message_id, accepted, rejected, response)


class _Client(smtplib.SMTP):
    """Connects to the address, but believes only a certificate for the name."""

    def __init__(self, access: MailboxAccess) -> None:
        self._access = access
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

    def transfer(
        self, sender: str, everybody: Sequence[str], content: bytes
    ) -> tuple[tuple[str, ...], tuple[str, ...], str]:
        """One mail transaction (RFC 5321 section 3.3): the accepted, the rejected, the response."""
        options = [f"SIZE={len(content)}"] if self.has_extn("size") else []
        code, text = self.mail(sender, options)
        if code != 250:
            raise smtplib.SMTPResponseException(code, text)
        refusals: dict[str, tuple[int, bytes]] = {}
        for recipient in everybody:
            code, text = self.rcpt(recipient)
            if code not in {250, 251}:
                refusals[recipient] = (code, text)
        if len(refusals) == len(everybody):
            raise smtplib.SMTPResponseException(*refusals[everybody[0]])
        # ``data`` raises SMTPDataError for a refusal of DATA itself.
        code, text = self.data(content)
        if code != 250:
            raise smtplib.SMTPDataError(code, text)
        accepted = tuple(recipient for recipient in everybody if recipient not in refusals)
        return accepted, tuple(refusals), _words(code, text)


def _words(code: int, text: bytes | str) -> str:
    """``550 5.1.1 …``: the server's words on one line."""
    words = text.decode("utf-8", "replace") if isinstance(text, bytes) else text
    return f"{code} {' '.join(words.split())}".strip()
