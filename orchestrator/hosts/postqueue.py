"""A host's mail queue: whose messages wait in it, and having them tried now (postqueue(1))."""

import json
from collections.abc import Collection

from orchestrator.conditions import Reason
from orchestrator.hosts.errors import HostError
from orchestrator.hosts.ssh import Completed, Pool, SshTarget

#: The host looks through its queue itself: only the lines that may matter travel.
FIND = 'wanted=$(cat); found=$(postqueue -j) && printf "%s\\n" "$found" | grep -F -- "$wanted" || :'
TRY = "xargs -r -n 1 postqueue -i"


def length(pool: Pool, target: SshTarget) -> int:
    """How many messages the queue holds, of anybody.

    :raises HostError: as ``waiting``.
    """
    return int(_run(pool, target, "postqueue -j | wc -l", "").stdout)


def waiting(pool: Pool, target: SshTarget, emails: Collection[str]) -> list[str]:
    """The queue ids of the messages from or to any of these mailboxes.

    :raises HostError: Unreachable, HostKeyChanged, SshKeyRefused or TimedOut.
    """
    if not emails:
        return []
    # With an extension the address has no closing quote where the local part ends.
    patterns = [part for email in emails for part in (f'"{email}"', f'"{email.split("@")[0]}+')]
    answer = _run(pool, target, FIND, "\n".join(patterns))
    messages = [json.loads(line) for line in answer.stdout.splitlines()]
    return [message["queue_id"] for message in messages if _parties(message) & set(emails)]


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
