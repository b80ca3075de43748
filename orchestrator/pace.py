"""Message rates of MTAs: ``quantity/period``, with an optional ``max_burst``.

The rate is that of a generic cell rate algorithm: one message in each ``interval``, and as many
as ``burst`` at once after a rest. Without ``max_burst`` the whole quantity may go at once.
"""

import re
from dataclasses import dataclass

from orchestrator.errors import Invalid

_UNITS = {
    **dict.fromkeys(("s", "sec", "second"), 1),
    **dict.fromkeys(("m", "min", "minute"), 60),
    **dict.fromkeys(("h", "hr", "hour"), 3600),
    **dict.fromkeys(("d", "day"), 86400),
}
_NUMBER = r"[0-9]{1,3}(?:,[0-9]{3}){1,2}|[0-9]{1,9}"
_RATE = re.compile(rf"({_NUMBER})/([0-9]{{0,5}})([a-z]+)(?:,max_burst=({_NUMBER}))?")
#: The longest period in seconds, and the most messages in a second.
LONGEST = 31 * 86400
FASTEST = 100


@dataclass(frozen=True)
class Pace:
    """So many messages in so many seconds, ``burst`` of them at once."""

    quantity: int
    seconds: int
    burst: int

    @property
    def interval(self) -> int:
        """Microseconds between two messages."""
        return self.seconds * 1_000_000 // self.quantity


def parse(text: str) -> Pace:
    """Read a rate such as ``500/hr``, ``1,000/day``, ``50/hr,max_burst=10`` or ``500/30min``.

    :raises Invalid: when it is none, or of nothing, or faster than a host can be held to.
    """
    match = _RATE.fullmatch(text)
    if match is None or match[3] not in _UNITS:
        raise _refused("not a rate such as 500/hr, 1,000/day, 50/hr,max_burst=10 or 500/30min")
    quantity, seconds = _number(match[1]), int(match[2] or 1) * _UNITS[match[3]]
    burst = quantity if match[4] is None else _number(match[4])
    if not quantity or not seconds or not burst:
        raise _refused("a rate of nothing: no message would ever leave")
    if seconds > LONGEST:
        raise _refused("a rate for more than 31 days")
    if quantity > FASTEST * seconds:
        raise _refused(f"a rate of more than {FASTEST} messages a second")
    pace = Pace(quantity, seconds, burst)
    if burst * pace.interval > LONGEST * 1_000_000:
        raise _refused("a rate with a burst of what comes in more than 31 days")
    return pace


def _number(text: str) -> int:
    return int(text.replace(",", ""))


def _refused(why: str) -> Invalid:
    return Invalid(f"max_message_rate is {why}", field="max_message_rate")
