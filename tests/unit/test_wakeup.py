"""A committed change is looked at at once, by every reconciler that can be told."""

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from labkit import wait_for
from sqlalchemy import Engine
from storekit import Store

from orchestrator import db, wakeup
from orchestrator.db import writing

COMMIT = """
import sys
from orchestrator import db, wakeup
engine = db.connect(sys.argv[1])
with db.writing(engine) as session:
    wakeup.request(session)
"""


class Looks:
    """Counts, and can be waited for."""

    def __init__(self) -> None:
        self.count = 0
        self._changed = threading.Condition()

    def __call__(self) -> None:
        with self._changed:
            self.count += 1
            self._changed.notify_all()

    def more_than(self, count: int) -> bool:
        with self._changed:
            return self._changed.wait_for(lambda: self.count > count, timeout=30)


@pytest.fixture
def looks(engine: Engine) -> Iterator[Looks]:
    """What a listener on the database was told; it listens when the test begins."""
    made = Looks()
    listener = wakeup.Listener(engine, made)

    def heard() -> bool:
        ask(engine)
        return made.count > 0

    wait_for("the listener", heard)
    yield made
    listener.close()


def ask(engine: Engine) -> None:
    with writing(engine) as session:
        wakeup.request(session)


def test_a_commit_of_another_process_is_told(
    engine: Engine, looks: Looks, database_url: str
) -> None:
    before = looks.count
    subprocess.run([sys.executable, "-c", COMMIT, database_url], check=True)
    assert looks.more_than(before)


def test_what_is_not_committed_is_not_told(engine: Engine, looks: Looks) -> None:
    quiet = settle(looks)
    with pytest.raises(RuntimeError), writing(engine) as session:
        wakeup.request(session)
        raise RuntimeError
    with writing(engine):
        pass
    assert settle(looks) == quiet


def settle(looks: Looks) -> int:
    """The count once nothing more arrives for a while."""
    while True:
        count = looks.count
        if not threading.Event().wait(0.3) and looks.count == count:
            return count


def change_address(store: Store) -> None:
    store.pool(store.host(), "198.51.100.21")


def change_mailbox(store: Store) -> None:
    change_address(store)
    workspace = store.workspace()
    store.assign(workspace)
    store.domain(workspace)
    store.mailboxes(workspace, "a@acme.com")


@pytest.mark.parametrize("change", [change_address, change_mailbox])
def test_services_ask_without_their_callers_knowing(
    store: Store, change: Callable[[Store], None]
) -> None:
    looks = Looks()
    listener = wakeup.Listener(store.engine, looks)
    change(store)
    assert looks.more_than(0)
    listener.close()


def test_nobody_listening_is_no_error(engine: Engine) -> None:
    ask(engine)


def test_a_socket_left_behind_is_taken_over(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'mailfleet.db'}"
    program = (
        "import sys, os; from orchestrator import db, wakeup; import time\n"
        "wakeup.Listener(db.connect(sys.argv[1]), print); time.sleep(0.5); os._exit(1)"
    )
    subprocess.run([sys.executable, "-c", program, url], check=False)
    assert (tmp_path / "mailfleet.db.wake").exists()
    engine = db.connect(url)
    looks = Looks()
    listener = wakeup.Listener(engine, looks)

    def heard() -> bool:
        ask(engine)
        return looks.count > 0

    wait_for("the new listener", heard)
    listener.close()
    assert not (tmp_path / "mailfleet.db.wake").exists()
    engine.dispose()
