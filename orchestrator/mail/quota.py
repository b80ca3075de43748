"""Asks a mailbox's server how full it is, over IMAP (RFC 9208)."""

from contextlib import closing

from orchestrator.errors import Upstream
from orchestrator.mail.imap import ask, connections
from orchestrator.mail.types import MailboxAccess, QuotaUsage


def usage(access: MailboxAccess) -> QuotaUsage:
    """How much the mailbox holds and may hold.

    Raises ``Upstream`` when the server can't be reached or refuses the login.
    """
    # Not a kept session: Dovecot goes by the quota that was in force when one began.
    with closing(connections()) as fresh:
        _, quotas = ask(fresh, access, lambda client: client.get_quota_root("INBOX"))
    for quota in quotas:
        if quota.resource == "STORAGE":
            return QuotaUsage(int(quota.usage), int(quota.limit) or None)
    raise Upstream("imap", f"{access.host}: the mailbox has no quota of storage")
