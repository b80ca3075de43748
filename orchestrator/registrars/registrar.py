"""What Mailfleet asks of a registrar, and what it is told."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Protocol

from orchestrator.errors import Away, Conflict


class RegistrarAway(Away):
    """The registrar could not be asked, or not now: nothing is known of the name."""


class RegistrarRefusal(Conflict):
    """The registrar won't do it, and would not if it were asked again."""


@dataclass(frozen=True)
class Held:
    """A name that is registered. ``ours``: we are its registrar of record.

    ``created_at`` tells a purchase of ours from one that somebody made before.
    """

    ours: bool
    created_at: datetime
    expires_at: datetime
    nameservers: tuple[str, ...]


class Standing(Enum):
    """Of a name that isn't registered: whether somebody is at it."""

    FREE = "free"
    PENDING = "pending"


@dataclass(frozen=True)
class Notice:
    """The registrar's word about a request that it took its time for."""

    name: str
    granted: bool
    reason: str


class Registrar(Protocol):
    """A registrar. Every call talks to it and may take seconds; none is made in a transaction.

    All raise ``RegistrarAway`` when it can't be asked, and ``RegistrarRefusal`` when it refuses.
    """

    def check(self, name: str) -> bool:
        """Whether the name can be bought."""

    def info(self, name: str) -> Held | Standing:
        """What is known of the name."""

    def register(
        self, name: str, *, years: int, nameservers: Sequence[str], reference: str
    ) -> None:
        """Buy the name; ``info`` tells what came of it.

        :param reference: our name for the transaction, for the registrar's records.
        """

    def renew(self, name: str, *, expires_at: datetime, years: int) -> datetime:
        """Renew a name that expires then, and not if it expires at another time.

        :returns: when it expires now.
        """

    def set_nameservers(self, name: str, *, before: Sequence[str], wanted: Sequence[str]) -> None:
        """Delegate the name to other servers than it is delegated to."""

    def notices(self, handle: Callable[[Notice], None]) -> None:
        """Hand over what the registrar has to say; each is taken off its queue afterwards."""
