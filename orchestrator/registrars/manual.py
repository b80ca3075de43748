"""A registrar who is a person: the operator buys the name, and tells that it was done."""

from collections.abc import Callable, Sequence
from datetime import datetime

from orchestrator.registrars.registrar import Held, Notice, RegistrarRefusal, Standing


class Manual:
    """Knows nothing; `mailfleet registrations done` and `failed` decide."""

    def check(self, name: str) -> bool:
        """The operator sees it when buying."""
        return True

    def info(self, name: str) -> Held | Standing:
        """The operator is at it."""
        return Standing.PENDING

    def register(
        self, name: str, *, years: int, nameservers: Sequence[str], reference: str
    ) -> None:
        """The operator does it."""

    def renew(self, name: str, *, expires_at: datetime, years: int) -> datetime:
        """Only the operator can."""
        raise RegistrarRefusal("renew it by hand, then `mailfleet registrations done`")

    def set_nameservers(self, name: str, *, before: Sequence[str], wanted: Sequence[str]) -> None:
        """The operator has set them."""

    def notices(self, handle: Callable[[Notice], None]) -> None:
        """There is nobody to say anything."""
