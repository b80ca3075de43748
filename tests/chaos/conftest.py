"""The arena of all scenarios, and the table at the end."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from functools import partial
from typing import Any

import pytest
from chaos import table
from chaos.arena import Arena
from chaos.arena import arena as take_over
from chaos.trial import Trial, trial

Trials = Callable[..., AbstractContextManager[Trial]]


@pytest.fixture(scope="module")
def arena(lab: dict[str, Any]) -> Iterator[Arena]:
    """The lab, taken over from its own control plane."""
    with take_over(lab) as made:
        yield made


@pytest.fixture
def trials(arena: Arena) -> Trials:
    """``trials(scenario, machine)`` is one trial."""
    return partial(trial, arena)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the table of this lab."""
    rows = table.read()
    if rows:
        terminalreporter.section("faults that were survived")
        terminalreporter.write_line(table.markdown(rows))
