"""Which hosts get a new release next: pure, from how the hosts stand to it."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from uuid import UUID

#: After each wave so much of the fleet has the release; the last wave is the rest.
SHARES = (0.1, 0.5, 1.0)


@dataclass(frozen=True)
class Standing:
    """One host and a release.

    ``available`` hosts can be changed and told apart from those with troubles of their own;
    only they are chosen, counted and waited for. ``given`` hosts are to be rendered with the
    release, ``settled`` ones are converged with it. ``converged`` is with whatever they have.
    """

    id: UUID
    name: str
    os: str
    load: float
    available: bool
    converged: bool
    given: bool
    settled: bool


def canaries(standings: Sequence[Standing]) -> list[Standing]:
    """The hosts that must get the release first: one of each OS that has none yet.

    Converged hosts go before others (which a release may be meant to mend), idle ones before
    busy ones.
    """
    there = _available(standings)
    missing = {s.os for s in there} - {s.os for s in there if s.given}
    ranked = sorted(there, key=lambda s: (not s.converged, s.load, s.name))
    return [next(s for s in ranked if s.os == os) for os in sorted(missing)]


def settled(standings: Sequence[Standing]) -> bool:
    """Whether there are hosts with the release, and all of them are converged with it."""
    given = [s for s in _available(standings) if s.given]
    return bool(given) and all(s.settled for s in given)


def wave(standings: Sequence[Standing]) -> list[Standing]:
    """The hosts that get the release next, once those that have it are settled; none at the end."""
    there = _available(standings)
    given = sum(s.given for s in there)
    rest = sorted((s for s in there if not s.given), key=lambda s: (not s.converged, s.name))
    sizes = (ceil(len(there) * share) for share in SHARES)
    size = next((size for size in sizes if size > given), given)
    return rest[: size - given]


def _available(standings: Sequence[Standing]) -> list[Standing]:
    return [s for s in standings if s.available]
