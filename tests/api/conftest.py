"""The API over a database of its own, and a workspace with everything."""

from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from clockkit import Clock
from litestar.testing import TestClient
from storekit import QUICK, Store

from api.app import create_app
from api.dispatch import Dispatcher
from orchestrator.models import Domain, Host, Workspace
from orchestrator.services.mailboxes import Placed

Client = TestClient[Dispatcher]


@pytest.fixture
def clock() -> Clock:
    """What the API goes by in time; it stands still."""
    return Clock()


@pytest.fixture
def anonymous(store: Store, clock: Clock) -> Iterator[Client]:
    """The API without credentials. A handler's defect is an answer, as it is for clients."""
    with TestClient(create_app(store.settings, clock), raise_server_exceptions=False) as client:
        yield client


@pytest.fixture
def acme(store: Store) -> Workspace:
    """A workspace with nothing."""
    return store.workspace()


@pytest.fixture
def client(store: Store, anonymous: Client, acme: Workspace) -> Client:
    """The API as that workspace's program calls it."""
    anonymous.headers["Authorization"] = f"Bearer {store.key(acme, rates=QUICK)}"
    return anonymous


@dataclass
class Fleet:
    """A host with an assigned address, a domain, and two mailboxes of the workspace."""

    host: Host
    domain: Domain
    alice: Placed
    bob: Placed


@pytest.fixture
def fleet(store: Store, acme: Workspace) -> Fleet:
    host = store.host()
    store.pool(host, "198.51.100.21", "198.51.100.22", "198.51.100.23")
    store.assign(acme)
    domain = store.domain(acme)
    alice, bob = store.mailboxes(acme, "alice@acme.com", "bob@acme.com")
    return Fleet(host, domain, alice, bob)
