"""A host's mail queue: whose messages wait in it, and having them tried now (postqueue(1))."""

import json
from collections.abc import Collection
from typing import Any

from orchestrator.conditions import Reason
from orchestrator.hosts.errors import HostError
from orchestrator.hosts.ssh import Completed, Pool, SshTarget

#: The host looks through its queue itself: only the lines that may matter travel. A queue that
#: can't be read is not an empty one.
FIND = (
    "wanted=$(cat); found=$(postqueue -j) || exit; "
    'printf %s "$found" | grep -iF -- "$wanted" || [ $? = 1 ]'
)
TRY = "xargs -r -n 1 postqueue -i"


def length(pool: Pool, target: SshTarget) -> int:
    """How many messages the queue holds, of anybody.

    :raises HostError: as ``waiting``.
    """
    return int(_run(pool, target, "postqueue -j | wc -l", "").stdout)


def waiting(pool: Pool, target: SshTarget, emails: Collection[str]) -> list[str]:
    """The queue ids of the messages from or to any of these mailboxes.

    :raises HostError: Unreachable, HostKeyChanged, SshKeyRefused or TimedOut; ApplyFailed when
        the host can't tell.
    """
    if not emails:
        return []
    # With an extension the address has no closing quote where the local part ends.
    patterns = [part for email in emails for part in (f'"{email}"', f'"{email.split("@")[0]}+')]
    messages = _find(pool, target, patterns)
    return [message["queue_id"] for message in messages if _parties(message) & set(emails)]


def sent_as(pool: Pool, target: SshTarget, domains: Collection[str]) -> int:
    """How many messages with a sender in one of these domains are still to be delivered.

    :raises HostError: as ``waiting``.
    """
    if not domains:
        return 0
    messages = _find(pool, target, [f'@{domain}"' for domain in domains])
    # After a reload Postfix keeps for minutes what it has delivered to everybody.
    senders = [
        message["sender"].lower().rpartition("@")[2]
        for message in messages
        if message["recipients"]
    ]
    return sum(domain in domains for domain in senders)


def _find(pool: Pool, target: SshTarget, patterns: Collection[str]) -> list[dict[str, Any]]:
    answer = _run(pool, target, FIND, "\n".join(patterns))
    return [json.loads(line) for line in answer.stdout.splitlines()]


def deliver(pool: Pool, target: SshTarget, queue_ids: Collection[str]) -> None:
    """Try these messages now.

    :raises HostError: as ``waiting``.
    """
    if queue_ids:
        _run(pool, target, TRY, "\n".join(queue_ids))


def _run(pool: Pool, target: SshTarget, command: str, stdin: str) -> Completed:
    answer = pool.run(target, command, stdin.encode())
    # A message may have left meanwhile: that is no fault.
    if answer.status not in (0, 123):
        raise HostError(Reason.APPLY_FAILED, f"{target.name}: {answer.stderr.strip()}")
    return answer


def _parties(message: dict[str, object]) -> set[str]:
    recipients = message["recipients"]
    assert isinstance(recipients, list)
    raw = [str(message["sender"]), *(str(row["address"]) for row in recipients)]
    return {_base(address.lower()) for address in raw}


def _base(address: str) -> str:
    local, _, domain = address.rpartition("@")
    return f"{local.partition('+')[0]}@{domain}"
