"""`mailfleet clusters`, as an operator uses it."""

import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from sqlmodel import select
from worldkit import World

from orchestrator import db
from orchestrator.cli import mailfleet
from orchestrator.cli.app import App
from orchestrator.models import (
    AddressState,
    Cluster,
    Host,
    Move,
    MovePhase,
)
from orchestrator.services import (
    addresses,
    credentials,
    relocations,
)
from orchestrator.work.leaving import Leaving

Run = Callable[..., Result]


@pytest.fixture
def run(world: World, tmp_path: Path) -> Run:
    """A command on the store's database."""
    config = tmp_path / "mailfleet.toml"
    config.write_text(
        f'database_url = "{world.store.settings.database_url}"\n'
        f'master_key_file = "{world.store.settings.master_key_file}"\n'
        'fleet_domain = "fleetlab.net"\n'
    )

    def call(*argv: str) -> Result:
        app = App(config)
        result = CliRunner(env={"MAILFLEET_CONFIG": None}).invoke(mailfleet, argv, obj=app)
        app.engine.dispose()
        return result

    return call


def _json(run: Run, *argv: str) -> Any:
    return json.loads(run(*argv, "--json").output)


def test_a_cluster_from_its_beginning_to_its_end(world: World, run: Run) -> None:
    made = run("clusters", "create", "--workspace", "acme", "--region", "lab-2")
    slug = made.output.strip()
    (row,) = [row for row in _json(run, "clusters", "list") if row["id"] == slug]
    assert row == {
        "id": slug,
        "workspace": "acme",
        "region": "lab-2",
        "hostname": f"c-{slug}.fleetlab.net",
        "status": "provisioning",
        "message_rate": None,
        "mtas": 0,
    }
    world.store.workspace("other")
    assert _json(run, "clusters", "list", "--workspace", "other") == []
    assert "no MTA" in run("clusters", "status", slug).output
    assert run("clusters", "remove", slug).exit_code == 0
    assert run("clusters", "remove", slug).exit_code == 1
    assert run("clusters", "status", slug).exit_code == 1
    for workspace, region in (("nobody", "lab-1"), ("acme", "Lab 1")):
        refused = run("clusters", "create", "--workspace", workspace, "--region", region)
        assert refused.exit_code == 1


def test_the_status_tells_of_every_mta(world: World, run: Run) -> None:
    slug = world.cluster.slug
    assert run("clusters", "add-mta", slug, "mx1", "--addresses", "2").exit_code == 0
    added = run("clusters", "add-mta", slug, "mx2")
    assert added.output == f"mx2 is an MTA of {slug}; the tenant gets 198.51.100.31\n"
    world.converge(world.mx1)
    world.domain("acme.com")
    world.store.prove(world.domain("shop.com"))
    world.leave(world.mx2)
    with db.writing(world.store.engine) as session:
        addresses.get_by_ip(session, "198.51.100.22").reputation_flags = ["bl.lists.net"]
        session.get_one(Host, world.mx1.id).queue = 7
        cluster = session.get_one(Cluster, world.cluster.id)
        everything = credentials.Restrictions(allow_all_domains=True)
        credentials.create(session, cluster, "app", everything)
    told = _json(run, "clusters", "status", slug)
    assert (told["id"], told["status"], told["credentials"]) == (slug, "active", 1)
    assert told["domains"] == [
        {"name": "acme.com", "status": "pending"},
        {"name": "shop.com", "status": "verified"},
    ]
    mx1, mx2 = told["mtas"]
    assert (mx1["host"], mx1["state"], mx1["queue"]) == ("mx1", "active", 7)
    assert [(row["ip"], row["in_rotation"], row["listed_by"]) for row in mx1["addresses"]] == [
        ("198.51.100.21", True, []),
        ("198.51.100.22", False, ["bl.lists.net"]),
    ]
    assert (mx2["host"], mx2["state"], mx2["queue"]) == ("mx2", "leaving", None)
    shown = run("clusters", "status", slug).output
    assert "198.51.100.22 (not in rotation, listed by bl.lists.net)" in shown
    assert "shop.com" in shown


@pytest.mark.parametrize(
    ("rate", "kept", "code"),
    [
        ("500/hr", "500/hr", 0),
        ("50/hr,max_burst=10", "50/hr,max_burst=10", 0),
        ("none", None, 0),
        ("500", "9/hr", 1),
        ("fast", "9/hr", 1),
        ("0/hr", "9/hr", 1),
        ("", "9/hr", 1),
    ],
)
def test_a_rate(world: World, run: Run, rate: str, kept: str | None, code: int) -> None:
    slug = world.cluster.slug
    assert run("clusters", "set-rate", slug, "9/hr").exit_code == 0
    done = run("clusters", "set-rate", slug, rate)
    assert done.exit_code == code
    assert code == 0 or "max_message_rate" in done.output
    assert _json(run, "clusters", "status", slug)["message_rate"] == kept


def test_hosts_that_can_not_join(world: World, run: Run) -> None:
    slug = world.cluster.slug
    assert run("clusters", "add-mta", slug, "mx1", "--addresses", "0").exit_code == 64
    assert run("clusters", "add-mta", slug, "mx1", "--addresses", "3").exit_code == 1
    assert run("clusters", "add-mta", slug, "mx3").exit_code == 1
    assert run("clusters", "add-mta", "nothing", "mx1").exit_code == 1
    assert _json(run, "clusters", "status", slug)["mtas"] == []


def test_an_mta_that_is_not_removed(world: World, run: Run) -> None:
    slug = world.cluster.slug
    world.join(world.mx1)
    refused = run("clusters", "remove-mta", slug, "mx1", "--evacuate", "--no-wait")
    assert refused.exit_code == 64 and "--no-wait" in refused.output
    alone = run("clusters", "remove-mta", slug, "mx1", "--evacuate")
    assert alone.exit_code == 1 and "no other MTA" in alone.output
    assert run("clusters", "remove-mta", slug, "mx2", "--no-wait").exit_code == 1
    other = run("clusters", "create", "--workspace", "acme", "--region", "lab-2").output.strip()
    assert run("clusters", "remove-mta", other, "mx1", "--no-wait").exit_code == 1
    assert world.host(world.mx1).leaving_since is None
    assert run("clusters", "remove-mta", slug, "mx1", "--no-wait").exit_code == 0
    assert world.host(world.mx1).leaving_since is not None


def _reconcile(world: World, leaving: Leaving, ended: threading.Event) -> None:
    """What a reconciler would do: tell hosts, let them go, carry moves through."""
    while not ended.wait(0.05):
        if world.host(world.mx1).leaving_since is not None:
            world.converge(world.mx1)
        leaving.step()
        with db.writing(world.store.engine) as session:
            for move in session.exec(select(Move).where(Move.phase == MovePhase.PREPARING)):
                relocations.finish(session, move)


def test_an_mta_is_removed_and_its_addresses_go_to_the_others(
    world: World, leaving: Leaving, run: Run
) -> None:
    slug = world.cluster.slug
    world.join(world.mx1, 2)
    # Free addresses of a host that is none of its MTAs won't do.
    mx3 = world.store.host("mx3", "198.51.100.13")
    world.store.pool(mx3, "198.51.100.41")
    world.join(world.mx2)
    ended = threading.Event()
    reconciler = threading.Thread(target=_reconcile, args=(world, leaving, ended))
    reconciler.start()
    try:
        lacking = run("clusters", "remove-mta", slug, "mx1", "--evacuate")
        assert lacking.exit_code == 1, lacking.output
        assert "mx1 has left" in lacking.output and "no free IPv4" in lacking.output
        with db.reading(world.store.engine) as session:
            assert session.exec(select(Move)).all() == []
        world.join(world.mx1, 2)
        world.store.pool(world.mx2, "198.51.100.33")
        done = run("clusters", "remove-mta", slug, "mx1", "--evacuate")
    finally:
        ended.set()
        reconciler.join()
    assert done.exit_code == 0, done.output
    assert "waiting for mx1 to be told" in done.output
    assert "2 of the tenant's addresses on mx1 begin to move" in done.output
    with db.reading(world.store.engine) as session:
        rows = addresses.list_(session, world.acme)
        assert {row.host_id for row in rows} == {world.mx2.id} and len(rows) == 3
        resting = addresses.get_by_ip(session, "198.51.100.21")
        assert resting.state is AddressState.COOLDOWN
