"""What tests of the lab's hosts share."""

from collections.abc import Iterator

import pytest
from labkit import Operator
from sqlalchemy import Engine

from orchestrator import db, settings


@pytest.fixture(scope="module")
def engine(operator: Operator) -> Iterator[Engine]:
    """The lab's database: what lasts a moment only is not missed."""
    engine = db.connect(settings.load(operator.config, {}).database_url)
    yield engine
    engine.dispose()
