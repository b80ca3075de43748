"""TLS that verifies a name while connecting to an address."""

import socket
import ssl

from orchestrator.mail.types import MailboxAccess


def tls_context(access: MailboxAccess) -> ssl.SSLContext:
    """A context that trusts ``access.ca_file``, and the public authorities where ``access`` does.

    Raises ``OSError`` if the file can't be read.
    """
    context = ssl.create_default_context(cafile=str(access.ca_file))
    if access.public_authorities:
        context.load_default_certs()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def connect(access: MailboxAccess, port: int, timeout: float) -> socket.socket:
    """A TCP connection to the mailbox's host; seconds. Raises ``OSError``.

    Nagle's algorithm is off: a dialogue of short lines would wait 40 ms for each.
    """
    connection = socket.create_connection((access.address, port), timeout)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection
