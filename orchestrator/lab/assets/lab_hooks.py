"""Receives web hooks for tests: POST stores, GET lists, DELETE clears, each below a path.

A path that begins with ``/status/<code>`` is stored as well and answered with that code.
"""

import json
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

STORE = Path(sys.argv[2])
LOCK = threading.Lock()


def stored() -> list[dict[str, object]]:
    """Return every request stored so far, oldest first."""
    return [json.loads(line) for line in STORE.read_text().splitlines()] if STORE.exists() else []


class Handler(BaseHTTPRequestHandler):
    """One request."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        """Store the request and answer 204, or what the path asks for."""
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        request = {
            "time": time.time(),
            "method": self.command,
            "path": self.path,
            "client": self.client_address[0],
            "headers": {name.lower(): value for name, value in self.headers.items()},
            "body": body.decode(errors="replace"),
        }
        with LOCK, STORE.open("a") as file:
            file.write(json.dumps(request) + "\n")
        parts = self.path.split("/")
        status = 204
        if len(parts) > 2 and parts[1] == "status" and parts[2].isdigit():
            status = int(parts[2])
        self.answer(status)

    def do_GET(self) -> None:
        """List the requests whose path begins with this one."""
        with LOCK:
            found = [request for request in stored() if str(request["path"]).startswith(self.path)]
        self.answer(200, json.dumps(found).encode())

    def do_DELETE(self) -> None:
        """Forget the requests whose path begins with this one."""
        with LOCK:
            kept = [
                request for request in stored() if not str(request["path"]).startswith(self.path)
            ]
            STORE.write_text("".join(json.dumps(request) + "\n" for request in kept))
        self.answer(204)

    def answer(self, status: int, body: bytes = b"") -> None:
        """Send an answer; one of 204 must have no body and no length."""
        self.send_response(status)
        if status != 204:
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


# Every address of the container is the lab's own.
ThreadingHTTPServer(("", int(sys.argv[1])), Handler).serve_forever()
