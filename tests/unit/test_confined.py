"""What takes too long or too much is killed, and the next task is served."""

import os
import signal
import time
from collections.abc import Iterator

import pytest

from orchestrator.confined import Confined, ExceededError


@pytest.fixture(scope="module")
def confined() -> Iterator[Confined]:
    made = Confined(workers=1, memory=512 * 1024 * 1024)
    yield made
    made.close()


def endless() -> None:
    while True:
        time.sleep(0.01)


def greedy() -> int:
    return len(b"x" * 1024**3)


def dying() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def failing() -> None:
    raise ValueError("its own affair")


@pytest.mark.parametrize(
    ("task", "words"), [(endless, "longer"), (greedy, "memory"), (dying, "memory")]
)
def test_what_exceeds_is_ended(confined: Confined, task: object, words: str) -> None:
    with pytest.raises(ExceededError, match=words):
        confined.run(0.5, task)  # type: ignore[arg-type]
    assert confined.run(30.0, sum, [1, 2]) == 3


def test_a_tasks_own_error_is_raised(confined: Confined) -> None:
    with pytest.raises(ValueError, match="its own affair"):
        confined.run(30.0, failing)


def test_large_results_come_back(confined: Confined) -> None:
    content = bytes(20_000_000)
    assert confined.run(60.0, bytes, content) == content
