"""Commands, run by the server of ``commandserver``, which starts with the first of them."""

import atexit
import functools
import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from select import select
from typing import IO

SERVER = Path(__file__).with_name("commandserver.py")
#: Seconds that a command may take.
LONGEST = 900

_STARTING = threading.Lock()


def run(
    argv: Sequence[str], environment: Mapping[str, str], stdin: str
) -> subprocess.CompletedProcess[str]:
    """Run `mailfleet …` or `reconcile …` and wait for its end, as ``subprocess.run`` does."""
    request = json.dumps({"argv": argv, "environment": dict(environment)}).encode()
    with (
        tempfile.TemporaryFile("w+", encoding="utf-8") as given,
        tempfile.TemporaryFile("w+", encoding="utf-8") as out,
        tempfile.TemporaryFile("w+", encoding="utf-8") as err,
    ):
        given.write(stdin)
        given.seek(0)
        code = _ask(request, [given, out, err])
        for file in (out, err):
            file.seek(0)
        return subprocess.CompletedProcess(list(argv), code, out.read(), err.read())


def _ask(request: bytes, files: Sequence[IO[str]]) -> int:
    read, write = os.pipe()
    with os.fdopen(read, "rb") as answer:
        try:
            with _STARTING:
                requests = _server()
            socket.send_fds(requests, [request], [*(file.fileno() for file in files), write])
        finally:
            os.close(write)
        if not select([answer], [], [], LONGEST)[0]:
            raise TimeoutError(f"a command takes more than {LONGEST} s")
        return int(answer.read())


@functools.cache
def _server() -> socket.socket:
    """Start it; gives where to ask."""
    ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    process = subprocess.Popen(
        [sys.executable, SERVER, str(its.fileno())],
        pass_fds=[its.fileno()],
        stdin=subprocess.DEVNULL,
        cwd=SERVER.parents[1],
        env={**os.environ, "PYTHONPATH": str(SERVER.parents[1])},
    )
    its.close()
    atexit.register(process.wait)
    atexit.register(ours.close)  # that is what it ends at
    return ours
