"""A workspace with a cluster, and a program of one of its users."""

from collections.abc import Callable
from typing import Any

import clusterkit
import pytest
from litestar.testing import TestClient
from storekit import Store

from api.dispatch import Dispatcher
from api.unmta import BASE_PATH
from orchestrator.models import Cluster, User, Workspace

Client = TestClient[Dispatcher]
Call = Callable[..., Any]


@pytest.fixture
def ops(store: Store, acme: Workspace) -> User:
    """The user whose program it is."""
    return clusterkit.user(store, acme)


@pytest.fixture
def client(store: Store, anonymous: Client, ops: User) -> Client:
    """The API as that program calls it."""
    anonymous.headers["Authorization"] = f"Bearer {clusterkit.token(store, ops)}"
    return anonymous


@pytest.fixture
def cluster(store: Store, acme: Workspace) -> Cluster:
    """The workspace's cluster, without MTAs."""
    return clusterkit.cluster(store, acme)


@pytest.fixture
def call(client: Client, cluster: Cluster) -> Call:
    """Ask for a path below the cluster; gives the answer."""

    def ask(method: str, path: str, body: Any = None, **kwargs: Any) -> Any:
        if body is not None:
            kwargs["json"] = body
        return client.request(method, f"{BASE_PATH}/{cluster.slug}{path}", **kwargs)

    return ask
