from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator.lab.access import Lab

STATE = Path(__file__).resolve().parents[2] / ".lab"


@pytest.fixture(scope="session")
def running() -> Iterator[Lab]:
    """A hand on the lab that runs. Without a lab the test fails: no skip."""
    if not (STATE / "lab.json").exists():
        pytest.fail("the lab is not up: run `make up`")
    lab = Lab.open(STATE)
    yield lab
    lab.client.close()


@pytest.fixture(scope="session")
def described(running: Lab) -> dict[str, Any]:
    """What ``lab.json`` says."""
    values: dict[str, Any] = json.loads((running.state.dir / "lab.json").read_text())
    return values
