"""How an MTA leaves its cluster: not before the cluster's mail has left it."""

import json
from pathlib import Path

import pytest
from worldkit import Queue, World

from orchestrator import db
from orchestrator.hosts import postqueue
from orchestrator.models import (
    Cluster,
    Host,
)
from orchestrator.services import (
    cluster_domains,
)
from orchestrator.work.leaving import Leaving


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
