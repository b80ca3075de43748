"""The API with an operator's token."""

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from litestar.testing import TestClient
from storekit import Store

from api.app import create_app
from api.dispatch import Dispatcher

TOKEN = "operator-token-of-32-characters!"


@pytest.fixture
def operator(store: Store, tmp_path: Path) -> Iterator[TestClient[Dispatcher]]:
    (tmp_path / "operator.token").write_text(TOKEN + "\n")
    settings = msgspec.structs.replace(
        store.settings, operator_token_file=tmp_path / "operator.token"
    )
    with TestClient(create_app(settings)) as client:
        client.headers["Authorization"] = f"Bearer {TOKEN}"
        yield client
