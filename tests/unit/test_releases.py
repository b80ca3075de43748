"""A changed template: canaries, waves, and what happens when a host does not take it."""

from datetime import timedelta
from pathlib import Path
from shutil import copytree

import msgspec
import pytest
from sqlmodel import select
from storekit import HOST_KEY, Store

from orchestrator import rendering
from orchestrator.conditions import Reason, Status, Type
from orchestrator.db import reading, writing
from orchestrator.errors import Conflict
from orchestrator.models import Address, Condition, Host, Release, ReleaseState, utcnow
from orchestrator.overview import lines
from orchestrator.services import conditions, releases
from orchestrator.settings import BUILT_IN_TEMPLATES, Settings
from orchestrator.work.rollouts import Rollouts


class Fleet:
    """Hosts that take what they are given, as their passes would write it down."""

    def __init__(self, store: Store, directory: Path, count: int) -> None:
        self.store = store
        self.templates = directory / "templates"
        copytree(BUILT_IN_TEMPLATES, self.templates)
        self.settings: Settings = msgspec.structs.replace(
            store.settings, template_directory=self.templates, canary_seconds=0.0
        )
        self.rollouts = Rollouts(store.engine, self.settings)
        with writing(store.engine) as session:
            for n in range(count):
                name = f"mx{n:02}"
                session.add(
                    Host(
                        name=name,
                        hostname=f"{name}.fleetlab.net",
                        address=f"198.51.100.{n + 10}",
                        host_key=HOST_KEY,
                        os=f"debian{12 + n % 2}",
                        applied_at=utcnow(),
                    )
                )
        self.look()
        self.converge()

    def look(self, times: int = 2) -> None:
        for _ in range(times):
            self.rollouts.step()

    def converge(self, reason: Reason | None = None, only: str | None = None) -> None:
        """One pass over each host with the newest release; with a reason it fails."""
        with writing(self.store.engine) as session:
            for host in session.exec(select(Host)):
                if only is None or host.name == only:
                    host.seen_release_id = host.release_id
                    status = Status.TRUE if reason is None else Status.FALSE
                    why = reason or Reason.OBSERVED
                    conditions.set_(session, host.id, Type.CONVERGED, status, why, "said so")
                    conditions.set_(session, host.id, Type.REACHABLE, Status.TRUE, Reason.OBSERVED)

    def change(self, text: str = "# another comment\n") -> None:
        with (self.templates / "etc/postfix/main.cf.j2").open("a") as template:
            template.write(text)
        self.look()

    def on(self, number: int) -> list[str]:
        """The hosts with that release."""
        found = select(Host.name).where(
            Host.release_id == select(Release.id).where(Release.number == number).scalar_subquery()
        )
        with reading(self.store.engine) as session:
            return sorted(session.exec(found))

    def newest(self) -> Release:
        with reading(self.store.engine) as session:
            release = releases.newest(session)
            assert release is not None
            return release


@pytest.fixture
def fleet(store: Store, tmp_path: Path) -> Fleet:
    return Fleet(store, tmp_path, 20)


def test_the_first_templates_need_no_canary(fleet: Fleet) -> None:
    assert (fleet.newest().number, fleet.newest().state) == (1, ReleaseState.DONE)
    assert len(fleet.on(1)) == 20


def test_a_new_host_gets_the_newest_good_release(fleet: Fleet) -> None:
    fleet.change()
    assert fleet.newest().state is ReleaseState.CANARY
    host = fleet.store.host("new", "198.51.100.99")
    with writing(fleet.store.engine) as session:
        releases.ensure(session, host.id, lambda: rendering.read(fleet.templates))
    assert "new" in fleet.on(1)


def test_without_any_release_the_first_host_records_one(store: Store) -> None:
    host = store.host()
    with writing(store.engine) as session:
        given = releases.ensure(session, host.id, rendering.built_in)
    with reading(store.engine) as session:
        release = session.get_one(Release, given)
        assert release.state is ReleaseState.DONE
        assert releases.texts(session, given) == dict(rendering.built_in().texts)


def test_a_change_goes_to_one_host_of_each_os_first_then_on_in_waves(fleet: Fleet) -> None:
    fleet.change()
    assert fleet.on(2) == ["mx00", "mx01"]
    fleet.look(5)
    assert fleet.on(2) == ["mx00", "mx01"], "nobody has seen it work yet"
    fleet.converge()
    sizes = [2]
    while fleet.newest().state is not ReleaseState.DONE:
        fleet.look(1)
        if len(fleet.on(2)) != sizes[-1]:
            sizes.append(len(fleet.on(2)))
            fleet.look(3)
            assert len(fleet.on(2)) == sizes[-1], "each wave is converged before the next"
            fleet.converge()
    assert sizes == [2, 10, 20]


def test_canaries_must_hold_for_a_while(fleet: Fleet) -> None:
    settings = msgspec.structs.replace(fleet.settings, canary_seconds=60.0)
    fleet.rollouts = Rollouts(fleet.store.engine, settings)
    fleet.change()
    fleet.converge()
    fleet.look(5)
    assert fleet.newest().state is ReleaseState.CANARY
    with writing(fleet.store.engine) as session:
        release = session.get_one(Release, fleet.newest().id)
        assert release.proving_since is not None
        release.proving_since -= timedelta(seconds=61)
    fleet.look(1)
    assert fleet.newest().state is ReleaseState.ROLLING


@pytest.mark.parametrize(
    "reason", [Reason.VALIDATION_FAILED, Reason.SMOKE_TEST_FAILED, Reason.RENDERING_FAILED]
)
def test_a_canary_that_fails_stops_it_and_goes_back(fleet: Fleet, reason: Reason) -> None:
    fleet.change()
    fleet.converge()
    fleet.converge(reason, only="mx01")
    fleet.look(1)
    assert fleet.on(2) == []
    assert len(fleet.on(1)) == 20
    fleet.converge()
    fleet.look(5)
    failed = fleet.newest()
    assert (failed.number, failed.state, failed.failed_host) == (2, ReleaseState.FAILED, "mx01")
    assert failed.message == f"{reason}: said so"
    with reading(fleet.store.engine) as session:
        line = lines(session)[0]
    assert (line.kind, line.status, line.reason) == (
        *("release", Status.FALSE, Reason.ROLLOUT_FAILED),
    )
    assert "mx01" in line.message


def test_troubles_of_the_canary_itself_let_another_one_try(fleet: Fleet) -> None:
    fleet.change()
    fleet.converge(Reason.DISK_FULL, only="mx00")
    fleet.look(1)
    assert fleet.newest().state is ReleaseState.CANARY
    assert fleet.on(2) == ["mx00", "mx01", "mx02"]


def test_a_later_wave_that_fails_leaves_alone_what_works(fleet: Fleet) -> None:
    fleet.change()
    fleet.converge()
    fleet.look(2)
    assert len(fleet.on(2)) == 10
    fleet.converge()
    fleet.converge(Reason.SMOKE_TEST_FAILED, only="mx05")
    fleet.look(1)
    assert fleet.newest().state is ReleaseState.FAILED
    assert len(fleet.on(2)) == 9
    assert "mx05" in fleet.on(1)


def test_egress_is_proven_again_on_the_canaries(fleet: Fleet) -> None:
    with reading(fleet.store.engine) as session:
        canary = session.exec(select(Host).where(Host.name == "mx00")).one()
    address = fleet.store.pool(canary, "198.51.100.200")[0]
    far = utcnow() + timedelta(days=1)
    with writing(fleet.store.engine) as session:
        session.get_one(Address, address.id).egress_due_at = far
        conditions.set_(session, address.id, Type.EGRESS_PROVEN, Status.TRUE, Reason.OBSERVED)
    fleet.change()
    fleet.converge()
    fleet.look(4)
    assert fleet.newest().state is ReleaseState.CANARY
    with reading(fleet.store.engine) as session:
        assert session.get_one(Address, address.id).egress_due_at < far
    with writing(fleet.store.engine) as session:
        conditions.set_(
            session, address.id, Type.EGRESS_PROVEN, Status.FALSE, Reason.SIGNATURE_INVALID
        )
    fleet.look(1)
    assert fleet.newest().state is ReleaseState.FAILED
    assert "198.51.100.200: SignatureInvalid" in fleet.newest().message


def test_a_failed_release_is_tried_again_on_request_only(fleet: Fleet) -> None:
    with writing(fleet.store.engine) as session, pytest.raises(Conflict):
        releases.retry(session)
    fleet.change()
    fleet.converge(Reason.VALIDATION_FAILED)
    fleet.look(5)
    assert fleet.on(2) == []
    with writing(fleet.store.engine) as session:
        releases.retry(session)
    fleet.look(1)
    assert fleet.newest().state is ReleaseState.CANARY, "the old failure says nothing about it"
    fleet.converge()
    fleet.look(1)
    assert fleet.on(2) == ["mx00", "mx01"]


def test_mended_templates_replace_what_is_under_way(fleet: Fleet) -> None:
    fleet.change()
    fleet.change("# and another\n")
    assert fleet.newest().number == 3
    with reading(fleet.store.engine) as session:
        assert [row.state for row in releases.list_(session)] == [
            *(ReleaseState.CANARY, ReleaseState.SUPERSEDED, ReleaseState.DONE)
        ]


def test_a_directory_that_is_being_written_is_let_be(fleet: Fleet) -> None:
    path = fleet.templates / "etc/postfix/main.cf.j2"
    for n in range(3):
        path.write_text(f"# draft {n}\n")
        fleet.look(1)
    assert fleet.newest().number == 1
    for template in fleet.templates.rglob("*.j2"):
        template.unlink()
    fleet.look(3)
    assert fleet.newest().number == 1


def test_two_versions_of_the_program_do_not_take_turns(fleet: Fleet, tmp_path: Path) -> None:
    fleet.look(2)
    newer = tmp_path / "newer"
    copytree(fleet.templates, newer)
    (newer / "etc/postfix/main.cf.j2").write_text("# newer\n")
    settings = msgspec.structs.replace(fleet.settings, template_directory=newer)
    other = Rollouts(fleet.store.engine, settings)
    for _ in range(4):
        other.step()
        fleet.look(1)
    assert fleet.newest().number == 2


def test_paused_hosts_get_it_when_they_return(fleet: Fleet) -> None:
    with writing(fleet.store.engine) as session:
        for host in session.exec(select(Host).where(Host.name > "mx01")):
            host.paused = True
    fleet.change()
    fleet.converge()
    fleet.look(4)
    assert fleet.newest().state is ReleaseState.DONE
    assert len(fleet.on(2)) == 20


def test_conditions_of_hosts_without_any_are_unknown(fleet: Fleet) -> None:
    with writing(fleet.store.engine) as session:
        for row in session.exec(select(Condition)):
            session.delete(row)
    fleet.change()
    assert fleet.on(2) == []
    assert fleet.newest().state is ReleaseState.CANARY


def test_old_releases_are_forgotten_but_what_hosts_have_is_kept(
    store: Store, tmp_path: Path
) -> None:
    fleet = Fleet(store, tmp_path, 2)
    for number in range(2, 7):
        fleet.change(f"# {number}\n")
        for _ in range(4):
            fleet.look(1)
            fleet.converge()
    assert (fleet.newest().number, fleet.newest().state) == (6, ReleaseState.DONE)
    with writing(store.engine) as session:
        one = session.exec(select(Host).where(Host.name == "mx00")).one()
        second = session.exec(select(Release).where(Release.number == 2)).one()
        one.release_id = second.id
    with writing(store.engine) as session:
        releases.prune(session, 2)
        assert [row.number for row in releases.list_(session)] == [6, 5, 2]
