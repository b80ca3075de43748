"""Takes the lab down and leaves nothing but the cached images, or not even those."""

import shutil
from pathlib import Path
from typing import Any

from orchestrator.lab import containers, engine, images, network
from orchestrator.lab.errors import LabError
from orchestrator.lab.reporter import Reporter
from orchestrator.lab.state import State
from orchestrator.lab.topology import Topology


def down(
    state_dir: Path, topology: Topology, reporter: Reporter | None = None, *, purge: bool = False
) -> None:
    """Remove the lab of this state directory. Harmless when there is none.

    Containers, network and the state directory go; an engine that we started is stopped, unless
    somebody else's containers run in it.

    :param purge: remove the images as well, and the data of the engine that we started.
    :raises LabError: when ``up`` is running, or the engine does not stop.
    """
    say = reporter or Reporter()
    state = State.at(state_dir)
    existed = state.dir.is_dir()
    # The lock needs the directory, which also tells whose the containers are.
    State.open(state_dir)
    with state.lock():
        client = _client(purge=purge)
        if client is not None:
            with say.stage("containers"):
                for container in containers.owned(client, state.dir):
                    say.note(f"removing {container.name}")
                    container.remove(force=True, v=True)
            with say.stage("network"):
                network.remove(client, topology.network, state.dir)
            if purge:
                with say.stage("images"):
                    images.remove_all(client)
            busy = bool(client.containers.list())
            client.close()
            if not busy and engine.ours() is not None:
                with say.stage("engine"):
                    engine.stop()
                    if purge:
                        engine.purge()
        shutil.rmtree(state.dir)
    say.done("the lab is down" if existed else "there was no lab")


def _client(*, purge: bool) -> Any | None:
    """Return a client, or None where no engine runs: then no container does either.

    A stopped engine of ours is started once more where its data may still name our containers.
    """
    try:
        return engine.connect()
    except LabError:
        if not engine.ROOT.exists():
            return None
        if purge:
            engine.purge()
            return None
        return engine.ensure()
