"""A clock that stands until a test moves it."""

from dataclasses import dataclass, field
from datetime import datetime

from orchestrator.models import utcnow


@dataclass
class Clock:
    """Called, it tells what ``now`` was set to."""

    now: datetime = field(default_factory=utcnow)

    def __call__(self) -> datetime:
        return self.now
