"""Whose word about a client's address is taken: nobody's, but the proxies' of the settings."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import msgspec
import pytest
import uvicorn
from labkit import wait_for
from storekit import Store

from api.app import server_config
from orchestrator.errors import ConfigurationError
from orchestrator.services.keys import Limits
from orchestrator.settings import Settings


@contextmanager
def served(settings: Settings) -> Iterator[str]:
    server = uvicorn.Server(server_config(settings))
    thread = threading.Thread(target=server.run)
    thread.start()
    wait_for("the server", lambda: server.started)
    try:
        (port,) = (socket.getsockname()[1] for one in server.servers for socket in one.sockets)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join()


@pytest.mark.parametrize(
    ("proxies", "said", "status"),
    [
        ((), "203.0.113.7", 403),
        (("127.0.0.0/8",), "203.0.113.7", 200),
        (("127.0.0.1",), "203.0.113.7", 200),
        (("127.0.0.1",), "198.51.100.7", 403),
        # The client adds to the left; only what a trusted proxy added is believed.
        (("127.0.0.1",), "203.0.113.7, 198.51.100.7", 403),
        (("198.51.100.53",), "203.0.113.7", 403),
        (("127.0.0.1",), None, 403),
    ],
)
def test_a_clients_address(
    store: Store, proxies: tuple[str, ...], said: str | None, status: int
) -> None:
    token = store.key(store.workspace(), limits=Limits(allowed_ips=["203.0.113.0/24"]))
    headers = {"Authorization": f"Bearer {token}"}
    if said is not None:
        headers["X-Forwarded-For"] = said
    settings = msgspec.structs.replace(store.settings, api_port=0, trusted_proxies=proxies)
    with served(settings) as url:
        answer = httpx.get(f"{url}/api/v1/me", headers=headers)
    assert answer.status_code == status


@pytest.mark.parametrize("proxy", ["*", "proxy.example.com", "10.0.0.1/8", ""])
def test_what_is_no_proxy(store: Store, proxy: str) -> None:
    settings = msgspec.structs.replace(store.settings, trusted_proxies=(proxy,))
    with pytest.raises(ConfigurationError, match="trusted_proxies"):
        server_config(settings)
