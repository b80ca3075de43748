"""Which managed zone a name belongs to."""

from collections.abc import Iterable


def within(name: str, zone: str) -> bool:
    """Whether ``name`` is ``zone`` or below it. Case and trailing dots don't matter."""
    inner, outer = name.removesuffix(".").lower(), zone.removesuffix(".").lower()
    return inner == outer or inner.endswith("." + outer)


def covering_zone(name: str, zones: Iterable[str]) -> str | None:
    """The longest of ``zones`` that ``name`` is in, as it was given; ``None`` if there is none."""
    return max((zone for zone in zones if within(name, zone)), key=len, default=None)
