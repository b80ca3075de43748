"""The OpenAPI description is what the API does: requests made from it, good and bad ones.

Each operation is called with bodies, parameters and headers derived from its description, valid
and broken. No answer may be a defect (500) or other than described.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import descriptionkit
import httpx
import pytest
import schemathesis
from apikit import serve
from databases import Databases
from schemathesis import GenerationMode
from storekit import QUICK, Store

from orchestrator import db
from orchestrator.models import Address

DESCRIPTION = "/api/v1/docs/openapi.json"


@pytest.fixture(scope="module")
def store(
    tmp_path_factory: pytest.TempPathFactory, databases: Databases, few_keys: None
) -> Iterator[Store]:
    directory: Path = tmp_path_factory.mktemp("store")
    with databases.migrated("sqlite", directory) as url:
        made = Store(directory, url)
        yield made
        made.close()


@pytest.fixture(scope="module")
def token(store: Store) -> str:
    acme = store.workspace()
    store.pool(store.host(), "198.51.100.21", "198.51.100.22")
    (address,) = store.assign(acme)
    store.domain(acme)
    store.mailboxes(acme, "alice@acme.com")
    with db.writing(store.engine) as session:
        # Where nothing listens: what is accepted ends in smtp_error, and goes nowhere.
        session.get_one(Address, address.id).ip = "127.0.0.1"
    return store.key(acme, rates=QUICK)


@pytest.fixture(scope="module")
def client(store: Store, token: str) -> Iterator[httpx.Client]:
    """The workspace's program."""
    headers = {"Authorization": f"Bearer {token}"}
    with serve(store.settings) as url, httpx.Client(base_url=url, headers=headers) as client:
        yield client


@pytest.mark.parametrize("mode", list(GenerationMode))
def test_every_answer_is_as_described(client: httpx.Client, mode: GenerationMode) -> None:
    assert descriptionkit.check(client, DESCRIPTION, mode, _take_one_that_is_there) >= 14


def _take_one_that_is_there(client: httpx.Client, case: schemathesis.Case[Any]) -> None:
    collection, _, rest = case.path.partition("/{")
    if not rest:
        return
    answer = client.get(collection)
    rows = answer.json().get("data") if answer.status_code == 200 else None
    if isinstance(rows, list) and rows and "id" in rows[-1]:
        case.path_parameters[rest.partition("}")[0]] = rows[-1]["id"]
