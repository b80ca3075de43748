"""A tenant with a cluster, and the queue of one of its hosts."""

from collections.abc import Iterator
from pathlib import Path

import msgspec
import paramiko
import pytest
import sshkit
from storekit import Store
from worldkit import Queue, World

from orchestrator import db
from orchestrator.fleet import Fleet
from orchestrator.models import (
    Host,
)
from orchestrator.services import (
    clusters,
)
from orchestrator.work.leaving import Leaving


@pytest.fixture
def world(store: Store) -> World:
    acme = store.workspace()
    mx1, mx2 = store.host(), store.host("mx2", "198.51.100.12")
    store.pool(mx1, "198.51.100.21", "198.51.100.22")
    store.pool(mx2, "198.51.100.31", "198.51.100.32")
    with db.writing(store.engine) as session:
        cluster = clusters.create(session, store.settings, acme, region="lab-1")
    return World(store, acme, cluster, mx1, mx2)


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
