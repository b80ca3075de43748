"""The API on a loopback port, for clients that speak HTTP themselves."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn
from labkit import wait_for

from api.app import create_app
from orchestrator.settings import Settings


@contextmanager
def serve(settings: Settings) -> Iterator[str]:
    """Serve within the block; gives the URL."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    app = create_app(settings)
    server = uvicorn.Server(uvicorn.Config(app, port=port, log_config=None, access_log=False))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        wait_for("the API", lambda: server.started, every=0.02)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join()
