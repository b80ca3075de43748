"""What passes between the reconciler and the processes that push."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from orchestrator.conditions import Reason


@dataclass(frozen=True)
class Job:
    """One push to one host. ``ssh`` is pyinfra's host data (``ssh_hostname`` and so on).

    ``users`` are (name, number of user and group, group, home); ``memberships`` are
    (user, group); ``directories`` are (path, owner, group, octal mode).
    ``bundle`` is empty when no file changes.
    """

    name: str
    ssh: dict[str, Any]
    connect_timeout: int
    timeout: int
    packages: Sequence[str]
    users: Sequence[tuple[str, int, str, str]]
    memberships: Sequence[tuple[str, str]]
    directories: Sequence[tuple[str, str, str, str]]
    bundle: str


@dataclass(frozen=True)
class Outcome:
    """What came of a push: ``reason`` is None when all of it is in force.

    ``timings`` maps a step to milliseconds; ``diffs`` a public file's path to what changed in it.
    """

    reason: Reason | None
    message: str
    timings: dict[str, float]
    diffs: dict[str, str] = field(default_factory=dict)
