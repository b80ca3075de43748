"""A workspace whose mail goes to a real SMTP server on loopback."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from litestar.testing import TestClient
from smtpkit import Server

from api.dispatch import Dispatcher
from orchestrator.services import mailboxes

Client = TestClient[Dispatcher]


@pytest.fixture
def smtp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """Where the mailboxes' mail goes instead of port 587 of their host."""
    with Server.running(tmp_path) as server:
        real = mailboxes.access
        monkeypatch.setattr(mailboxes, "access", lambda *given: server.redirect(real(*given)))
        yield server


@pytest.fixture
def path(fleet: Any) -> str:
    return f"/api/v1/mailboxes/mb_{fleet.alice.mailbox.id.hex}/send"
