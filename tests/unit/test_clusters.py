"""Clusters and their MTAs: the rules, how an MTA leaves, and the operator's commands."""

import json
import subprocess
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import paramiko
import pytest
import sshkit
from click.testing import CliRunner, Result
from sqlmodel import Session, select
from storekit import Store

from orchestrator import db
from orchestrator.cli import mailfleet
from orchestrator.cli.app import App
from orchestrator.conditions import Status, Type
from orchestrator.errors import Conflict, Invalid, NotFound, Unavailable
from orchestrator.fleet import Fleet
from orchestrator.hosts import postqueue
from orchestrator.leaving import Leaving
from orchestrator.models import (
    Address,
    AddressState,
    Cluster,
    Domain,
    Host,
    Move,
    MovePhase,
    Workspace,
    utcnow,
)
from orchestrator.services import (
    addresses,
    cluster_domains,
    clusters,
    credentials,
    hosts,
    relocations,
)

#: Of a host that nothing wakes.
LATER = utcnow() + timedelta(days=1)


@dataclass
class World:
    """A tenant with a cluster without MTAs; each of two hosts has two free addresses."""

    store: Store
    acme: Workspace
    cluster: Cluster
    mx1: Host
    mx2: Host

    def join(self, host: Host, count: int = 1) -> list[Address]:
        with db.writing(self.store.engine) as session:
            cluster = session.get_one(Cluster, self.cluster.id)
            return clusters.add_mta(session, cluster, session.get_one(Host, host.id), count=count)

    def leave(self, host: Host) -> None:
        with db.writing(self.store.engine) as session:
            clusters.leave(session, session.get_one(Host, host.id))

    def converge(self, host: Host) -> None:
        """The host was told of all that was committed until now."""
        with db.writing(self.store.engine) as session:
            session.get_one(Host, host.id).applied_at = utcnow()
        self.store.observe(host, Type.CONVERGED)

    def domain(self, name: str) -> Domain:
        with db.writing(self.store.engine) as session:
            cluster = session.get_one(Cluster, self.cluster.id)
            return cluster_domains.add(
                session, self.store.vault, self.store.settings, cluster, name
            )

    def sleep(self) -> None:
        """No host is due."""
        with db.writing(self.store.engine) as session:
            for host in session.exec(select(Host)):
                host.due_at = host.dns_due_at = LATER

    def woken(self) -> set[str]:
        with db.reading(self.store.engine) as session:
            return {host.name for host in session.exec(select(Host)) if host.due_at < LATER}

    def host(self, host: Host) -> Host:
        with db.reading(self.store.engine) as session:
            return session.get_one(Host, host.id)

    def status(self) -> str:
        with db.reading(self.store.engine) as session:
            return clusters.status(session, session.get_one(Cluster, self.cluster.id))


@pytest.fixture
def world(store: Store) -> World:
    acme = store.workspace()
    mx1, mx2 = store.host(), store.host("mx2", "198.51.100.12")
    store.pool(mx1, "198.51.100.21", "198.51.100.22")
    store.pool(mx2, "198.51.100.31", "198.51.100.32")
    with db.writing(store.engine) as session:
        cluster = clusters.create(session, store.settings, acme, region="lab-1")
    return World(store, acme, cluster, mx1, mx2)


def test_a_cluster_has_a_name_below_the_fleets(world: World) -> None:
    assert world.cluster.hostname == f"c-{world.cluster.slug}.fleetlab.net"
    other = world.store.workspace("other")
    with db.writing(world.store.engine) as session:
        assert clusters.get(session, world.acme, world.cluster.slug).id == world.cluster.id
        for owner, slug in ((other, world.cluster.slug), (world.acme, "nothing")):
            with pytest.raises(NotFound):
                clusters.get(session, owner, slug)
        with pytest.raises(Invalid):
            clusters.create(session, world.store.settings, world.acme, region="Lab 1")
        assert clusters.list_(session, other) == []


def test_an_mta_takes_the_addresses_that_its_tenant_lacks(world: World) -> None:
    world.sleep()
    assert [address.host_id for address in world.join(world.mx1, 2)] == [world.mx1.id] * 2
    assert world.woken() == {"mx1"}
    with pytest.raises(Conflict, match="already"):
        world.join(world.mx1)
    with pytest.raises(Unavailable):
        world.join(world.mx2, 3)
    # All or none of it.
    assert world.host(world.mx2).cluster_id is None
    assert len(world.join(world.mx2, 1)) == 1
    world.leave(world.mx2)
    with db.writing(world.store.engine) as session:
        clusters.let_go(session, session.get_one(Host, world.mx2.id))
    # It has one already.
    assert len(world.join(world.mx2, 2)) == 1


def test_a_cluster_is_active_once_an_mta_was_told_of_it(world: World) -> None:
    world.converge(world.mx1)
    world.join(world.mx1)
    assert world.status() == "provisioning"
    with db.writing(world.store.engine) as session:
        session.get_one(Host, world.mx1.id).applied_at = utcnow()
    world.store.observe(world.mx1, Type.CONVERGED, status=Status.FALSE)
    assert world.status() == "provisioning"
    world.converge(world.mx1)
    assert world.status() == "active"
    # What could not be looked at is no worse.
    world.store.observe(world.mx1, Type.CONVERGED, status=Status.UNKNOWN)
    assert world.status() == "active"
    world.leave(world.mx1)
    assert world.status() == "provisioning"


def test_a_changed_rate_is_told_to_all_mtas(world: World) -> None:
    world.join(world.mx1)
    world.sleep()
    with db.writing(world.store.engine) as session:
        cluster = session.get_one(Cluster, world.cluster.id)
        clusters.set_rate(session, cluster, "1,000/day")
        assert cluster.max_message_rate == "1,000/day"
        with pytest.raises(Invalid):
            clusters.set_rate(session, cluster, "quick")
        clusters.set_rate(session, cluster, None)
        assert cluster.max_message_rate is None
    assert world.woken() == {"mx1"}


def test_a_host_is_seen_to_leave_once_it_was_told(world: World) -> None:
    world.join(world.mx1)
    world.converge(world.mx1)

    def leaving(session: Session) -> list[str]:
        return [host.name for host in clusters.leaving(session)]

    with db.writing(world.store.engine) as session:
        assert leaving(session) == []
        with pytest.raises(Conflict, match="no MTA"):
            clusters.leave(session, session.get_one(Host, world.mx2.id))
    world.leave(world.mx1)
    since = world.host(world.mx1).leaving_since
    world.leave(world.mx1)
    assert world.host(world.mx1).leaving_since == since
    with db.reading(world.store.engine) as session:
        assert leaving(session) == []
        cluster = session.get_one(Cluster, world.cluster.id)
        assert clusters.hosts(session, cluster) == []
        assert [host.name for host in clusters.members(session, cluster)] == ["mx1"]
    world.converge(world.mx1)
    with db.reading(world.store.engine) as session:
        assert leaving(session) == ["mx1"]
    with pytest.raises(Conflict, match="remove-mta"), db.writing(world.store.engine) as session:
        hosts.remove(session, session.get_one(Host, world.mx1.id))


def test_what_is_still_used_is_not_removed(world: World) -> None:
    def remove() -> None:
        with db.writing(world.store.engine) as session:
            clusters.remove(session, session.get_one(Cluster, world.cluster.id))

    world.join(world.mx1)
    with pytest.raises(Conflict, match="MTAs"):
        remove()
    world.leave(world.mx1)
    with pytest.raises(Conflict, match="MTAs"):
        remove()
    with db.writing(world.store.engine) as session:
        clusters.let_go(session, session.get_one(Host, world.mx1.id))
    world.domain("acme.com")
    with pytest.raises(Conflict, match="domains"):
        remove()
    with db.writing(world.store.engine) as session:
        cluster = session.get_one(Cluster, world.cluster.id)
        everything = credentials.Restrictions(allow_all_domains=True)
        credentials.create(session, cluster, "app", everything)
        for row in session.exec(select(Domain).where(Domain.cluster_id == cluster.id)):
            row.cluster_id = None
    with pytest.raises(Conflict, match="credentials"):
        remove()


# ---- Leaving


@dataclass
class Queue:
    """What a host answers when it is asked for its queue; nothing else is run there."""

    directory: Path

    def hold(self, *senders: str) -> None:
        lines = [
            {"queue_id": f"4Zx{number}", "sender": sender, "recipients": [{"address": "x@y.net"}]}
            for number, sender in enumerate(senders)
        ]
        text = "".join(f"{json.dumps(line)}\n" for line in lines)
        (self.directory / "queue").write_text(text)
        self.answer("cat " + str(self.directory / "queue"))

    def answer(self, script: str) -> None:
        program = self.directory / "postqueue"
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)

    def run(self, command: str, stdin: str = "") -> tuple[int, str]:
        done = subprocess.run(
            ["sh", "-c", command],
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
            env={"PATH": f"{self.directory}:/usr/bin:/bin"},
        )
        return done.returncode, done.stdout


@pytest.fixture
def queue(world: World, tmp_path: Path) -> Iterator[Queue]:
    """The queue of mx1, reached over SSH."""
    directory = tmp_path / "bin"
    directory.mkdir()
    made = Queue(directory)
    made.hold()
    key = tmp_path / "key"
    paramiko.ECDSAKey.generate().write_private_key_file(str(key))
    world.store.settings = msgspec.structs.replace(world.store.settings, ssh_key_file=key)
    with sshkit.serve(made.run) as server:
        with db.writing(world.store.engine) as session:
            row = session.get_one(Host, world.mx1.id)
            row.address, row.ssh_port, row.host_key = "127.0.0.1", server.port, server.host_key
        yield made


@pytest.fixture
def leaving(world: World, queue: Queue) -> Iterator[Leaving]:
    fleet = Fleet(world.store.settings, world.store.vault)
    yield Leaving(world.store.engine, fleet)
    fleet.close()


def test_an_mta_leaves_when_none_of_the_clusters_mail_is_left(
    world: World, queue: Queue, leaving: Leaving
) -> None:
    world.join(world.mx1)
    world.domain("acme.com")
    world.domain("gone.com")
    with db.writing(world.store.engine) as session:
        cluster_domains.delete(session, session.get_one(Cluster, world.cluster.id), "gone.com")

    def is_mta() -> bool:
        leaving.step()
        return world.host(world.mx1).cluster_id is not None

    assert is_mta()
    world.leave(world.mx1)
    assert is_mta(), "it may not know yet"
    world.converge(world.mx1)
    for sender in ("app@acme.com", "App@ACME.com", "news@gone.com"):
        queue.hold("MAILER-DAEMON", sender)
        assert is_mta(), sender
    queue.answer("echo 'fatal: Queue report unavailable' >&2; exit 69")
    assert is_mta(), "a queue that can't be read is not empty"
    world.sleep()
    queue.hold("", "MAILER-DAEMON", "app@notacme.com", "acme.com@else.net", "a@acme.com.else.net")
    assert not is_mta()
    row = world.host(world.mx1)
    assert (row.cluster_id, row.joined_at, row.leaving_since) == (None, None, None)
    assert world.woken() == {"mx1"}
    leaving.step()


@pytest.mark.parametrize(
    ("senders", "found"),
    [
        ([], []),
        (["x@else.net"], []),
        (["x@else.net", "App@ACME.com", "acme.com@else.net"], ["App@ACME.com"]),
    ],
)
def test_only_lines_that_may_matter_travel(
    tmp_path: Path, senders: list[str], found: list[str]
) -> None:
    queue = Queue(tmp_path)
    queue.hold(*senders)
    status, text = queue.run(postqueue.FIND, '@shop.com"\n@acme.com"')
    assert (status, [json.loads(line)["sender"] for line in text.splitlines()]) == (0, found)
    queue.answer("exit 69")
    assert queue.run(postqueue.FIND, '@acme.com"') == (69, "")


def test_a_host_that_does_not_answer_keeps_no_other(
    world: World, queue: Queue, leaving: Leaving
) -> None:
    for host in (world.mx1, world.mx2):
        world.join(host)
        world.domain(f"{host.name}.com")
        world.leave(host)
        world.converge(host)
    with db.writing(world.store.engine) as session:
        # Nobody listens there.
        session.get_one(Host, world.mx2.id).address = "127.0.0.2"
        session.get_one(Host, world.mx2.id).ssh_port = 9
    leaving.step()
    assert world.host(world.mx1).cluster_id is None
    assert world.host(world.mx2).cluster_id is not None


# ---- Commands

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
