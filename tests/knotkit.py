"""Debian's Knot on loopback, with a configuration database, as the managed name server has it."""

import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

TSIG_NAME, TSIG_SECRET = "fleet", "c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0"
CONFIGURATION = """
server:
  rundir: "{directory}"
  listen: [ 127.0.0.1@{port} ]
log:
  - target: stderr
    any: warning
database:
  storage: "{directory}"
key:
  - id: {name}
    algorithm: hmac-sha256
    secret: {secret}
acl:
  - id: fleet
    key: {name}
    action: [transfer, update]
template:
  - id: default
    storage: "{directory}"
  - id: managed
    storage: "{directory}"
    serial-policy: unixtime
    zonefile-sync: 0
    acl: fleet
"""


@dataclass
class NameServer:
    """A running server; ``command`` is how knotc speaks to it."""

    directory: Path
    port: int
    process: subprocess.Popen[bytes] | None = None

    @property
    def command(self) -> tuple[str, ...]:
        return ("/usr/sbin/knotc", "-s", str(self.directory / "knot.sock"))

    def knotc(self, *words: str) -> str:
        done = subprocess.run([*self.command, *words], capture_output=True, text=True, check=False)
        return done.stdout

    def start(self) -> None:
        with (self.directory / "knot.log").open("ab") as log:
            self.process = subprocess.Popen(
                ["/usr/sbin/knotd", "-C", str(self.directory / "confdb")],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        deadline = time.monotonic() + 20
        while not self.knotc("status"):
            if time.monotonic() > deadline:
                raise AssertionError((self.directory / "knot.log").read_text())
            time.sleep(0.05)

    def stop(self) -> None:
        assert self.process is not None
        self.process.terminate()
        self.process.wait(timeout=20)


@contextmanager
def serving(directory: Path) -> Iterator[NameServer]:
    """A server without zones for the block."""
    port = _free_port()
    text = CONFIGURATION.format(directory=directory, port=port, name=TSIG_NAME, secret=TSIG_SECRET)
    (directory / "knot.conf").write_text(text)
    database = ["-C", str(directory / "confdb")]
    imported = ["/usr/sbin/knotc", *database, "conf-import", str(directory / "knot.conf")]
    subprocess.run(imported, check=True, capture_output=True)
    server = NameServer(directory, port)
    try:
        server.start()
        yield server
    finally:
        server.stop()


def _free_port() -> int:
    """A port that is free for UDP and TCP: what is free for one may be taken for the other."""
    with socket.create_server(("127.0.0.1", 0)) as stream:
        port = int(stream.getsockname()[1])
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagram:
            try:
                datagram.bind(("127.0.0.1", port))
            except OSError:
                return _free_port()
    return port
