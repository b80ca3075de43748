"""Sessions with a tenant's mailbox over IMAP (RFC 3501), as a mail client would have them."""

import imaplib
import re
import ssl
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, TypeVar

from imapclient import IMAPClient, SocketTimeout
from imapclient.response_parser import parse_fetch_response
from imapclient.tls import IMAP4_TLS

from orchestrator.errors import Invalid, NotFound, Upstream
from orchestrator.mail.connection import connect, tls_context
from orchestrator.mail.pool import IDLE_SECONDS, Dialogue, Pool
from orchestrator.mail.types import MailboxAccess

T = TypeVar("T")

#: UIDs are 32-bit numbers that aren't zero (RFC 3501 section 2.3.1.1).
MAX_UID = 2**32 - 1
_MAX_FOLDER = 1_000
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
#: How often one request is answered anew because messages vanished while they were fetched.
_TRIES = 3


class _VerifiedTls(IMAP4_TLS):  # type: ignore[misc]  # imapclient ships no types
    """Connects to the address, but believes only a certificate for the name."""

    def __init__(self, access: MailboxAccess) -> None:
        self._access = access
        super().__init__(access.host, access.imap_port, tls_context(access), access.timeout)

    def _create_socket(self, timeout: float | None = None) -> ssl.SSLSocket:
        access = self._access
        connection = connect(access, access.imap_port, access.timeout)
        try:
            return tls_context(access).wrap_socket(connection, server_hostname=access.host)
        except BaseException:
            connection.close()
            raise


class ImapClient(IMAPClient):  # type: ignore[misc]  # imapclient ships no types
    """A session that isn't logged in yet."""

    def __init__(self, access: MailboxAccess) -> None:
        self._access = access
        timeout = SocketTimeout(access.timeout, access.timeout)
        super().__init__(access.host, access.imap_port, ssl=True, timeout=timeout)
        # Aware times; the default is local time without saying so.
        self.normalise_times = False
        #: The folder that is selected, and whether for reading only.
        self._chosen: tuple[str, bool] | None = None

    def _create_IMAP4(self) -> _VerifiedTls:  # noqa: N802 - imapclient's name
        return _VerifiedTls(self._access)

    def choose(self, folder: str, *, readonly: bool) -> tuple[int, int]:
        """Have a folder selected; gives its number of messages, and a UID above all of theirs.

        One that is selected already is not opened again: with a large one that takes long.

        :raises NotFound: when there is none of that name.
        """
        wanted = (folder, readonly)
        newest = self._newest() if self._chosen == wanted else None
        if newest is not None:
            return newest
        self._chosen = None
        try:
            told = self.select_folder(folder, readonly=readonly)
        except imaplib.IMAP4.abort:
            raise
        except imaplib.IMAP4.error as error:
            raise NotFound(f"there is no folder {folder!r}") from error
        total = int(told[b"EXISTS"])
        # An empty folder has no newest message to ask for.
        self._chosen = wanted if total else None
        return total, int(told.get(b"UIDNEXT", MAX_UID + 1))

    def _newest(self) -> tuple[int, int] | None:
        """The highest sequence number, and the UID after that message's; None if there is none."""
        try:
            # Not imapclient's own: it takes numbers only.
            status, told = self._imap.fetch("*", "(UID)")
        except imaplib.IMAP4.abort:
            raise
        except imaplib.IMAP4.error:
            return None  # RFC 3501, formal syntax: "*" is no number in an empty folder
        if status != "OK" or told == [None]:
            return None
        # What others changed meanwhile may stand among it, without a UID.
        found = parse_fetch_response(told, normalise_times=False, uid_is_key=False)
        known = ((number, data[b"UID"] + 1) for number, data in found.items() if b"UID" in data)
        return max(known, default=None)

    def fetch_numbered(
        self, numbers: Sequence[int], items: Sequence[str]
    ) -> dict[int, dict[bytes, Any]]:
        """Fetch by sequence numbers: this command changes none (RFC 3501 section 7.4.1)."""
        self.use_uid = False
        try:
            found: dict[int, dict[bytes, Any]] = self.fetch(numbers, items)
            return found
        finally:
            self.use_uid = True


def check_folder(folder: str) -> None:
    """Raise ``Invalid`` for what can't be a folder's name.

    imaplib doesn't guard its arguments against line breaks (CVE-2025-15366).
    """
    if not folder or len(folder) > _MAX_FOLDER or _CONTROL.search(folder):
        raise Invalid(
            "the folder's name is empty, too long or has control characters", field="folder"
        )
    try:
        folder.encode()
    except UnicodeEncodeError as error:
        raise Invalid("the folder's name has half a surrogate pair", field="folder") from error


def connections(idle_seconds: float = IDLE_SECONDS) -> Pool[ImapClient]:
    """Sessions that are logged in."""
    broken = (imaplib.IMAP4.abort, OSError, EOFError)
    # Whatever is done here may be done twice: reading, and marking as read.
    dialogue = Dialogue(_open, _alive, _close, broken, lambda _: True)
    return Pool(dialogue, idle_seconds=idle_seconds)


def ask(pool: Pool[ImapClient], access: MailboxAccess, work: Callable[[ImapClient], T]) -> T:
    """Let ``work`` use a session; it begins by choosing a folder, and may be called again.

    Raises what ``work`` does, and ``Upstream`` in the server's words.
    """
    try:
        for left in reversed(range(_TRIES)):
            try:
                return pool.run(access, work)
            except imaplib.IMAP4.error as error:
                # RFC 5530: messages were expunged by somebody else while they were fetched.
                if "EXPUNGEISSUED" not in str(error) or not left:
                    raise
        raise AssertionError("unreachable")
    except (imaplib.IMAP4.error, OSError, EOFError) as error:
        words = " ".join(str(error).split()) or type(error).__name__
        raise Upstream("imap", f"{access.host}: {words}") from error


def _open(access: MailboxAccess) -> ImapClient:
    client = ImapClient(access)
    try:
        # Not LOGIN: imaplib can't send a password that isn't ASCII with it.
        client.plain_login(access.email, access.password)
    except BaseException:
        _close(client)
        raise
    return client


def _alive(client: ImapClient) -> bool:
    try:
        client.noop()
    except (imaplib.IMAP4.error, OSError, EOFError):
        return False
    return True


def _close(client: ImapClient) -> None:
    # No LOGOUT: nothing is lost without it, and a server that hangs would keep us waiting.
    with suppress(OSError):
        client.shutdown()
