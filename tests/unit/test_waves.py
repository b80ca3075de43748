"""Which hosts get a release next."""

from dataclasses import replace
from itertools import pairwise

from uuid_utils.compat import uuid7

from orchestrator import waves
from orchestrator.waves import Standing


def host(name: str, os: str = "debian12", load: float = 0.0) -> Standing:
    return Standing(
        uuid7(), name, os, load, available=True, converged=True, given=False, settled=False
    )


def names(chosen: list[Standing]) -> list[str]:
    return [s.name for s in chosen]


def test_the_canaries_are_the_idlest_converged_host_of_each_os() -> None:
    fleet = [
        host("busy", load=2.0),
        host("idle", load=0.1),
        replace(host("broken"), converged=False),
        replace(host("paused"), available=False),
        host("other", "debian13", load=9.0),
    ]
    assert names(waves.canaries(fleet)) == ["idle", "other"]


def test_a_canary_that_went_away_is_replaced() -> None:
    away = replace(host("away"), given=True, available=False)
    assert names(waves.canaries([away, host("here")])) == ["here"]
    back = replace(away, available=True)
    assert waves.canaries([back, host("here")]) == []


def test_where_nothing_is_converged_a_release_may_be_what_mends_it() -> None:
    assert names(waves.canaries([replace(host("broken"), converged=False)])) == ["broken"]


def test_nothing_is_settled_before_a_host_has_the_release() -> None:
    assert not waves.settled([host("a")])
    given = replace(host("a"), given=True)
    assert not waves.settled([given])
    assert waves.settled([replace(given, settled=True), host("b")])


def test_who_is_away_is_not_waited_for() -> None:
    here = replace(host("a"), given=True, settled=True)
    away = replace(host("b"), given=True, available=False)
    assert waves.settled([here, away])
    assert waves.wave([here, away]) == []


def test_waves_grow_to_the_whole_fleet() -> None:
    fleet = [host(f"mx{n:02}", f"debian{12 + n % 2}") for n in range(40)]
    sizes = []
    chosen = waves.canaries(fleet)
    while chosen:
        ids = {s.id for s in chosen}
        fleet = [replace(s, given=True, settled=True) if s.id in ids else s for s in fleet]
        sizes.append(sum(s.given for s in fleet))
        chosen = waves.wave(fleet)
    assert sizes == [2, 4, 20, 40]
    assert all(before < after for before, after in pairwise(sizes))


def test_two_hosts_are_both_canaries() -> None:
    fleet = [host("mx1", "debian12"), host("mx2", "debian13")]
    assert names(waves.canaries(fleet)) == ["mx1", "mx2"]
    assert waves.wave([replace(s, given=True, settled=True) for s in fleet]) == []
