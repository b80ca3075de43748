"""Runs `mailfleet` and `reconcile` in processes forked from this one, which has loaded them.

Loading them takes a second of processor time, which tests would spend again at every command.
Their start as programs is seen by the tests that run them as users do.

Started as ``commandserver.py FD``: each packet of the socket is a JSON object with ``argv`` and
``environment``, and carries the command's input, output and errors and where its exit code goes.
"""

import json
import os
import signal
import socket
import sys
import traceback
from importlib import import_module
from typing import Any

from orchestrator.cli import mailfleet, reconcile

LARGEST = 1024 * 1024
GROUPS = {"mailfleet": mailfleet, "reconcile": reconcile}


def serve(requests: socket.socket) -> None:
    """Fork at each request, until the other end is closed."""
    # Nobody waits for the children.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while True:
        packet, descriptors, _, _ = socket.recv_fds(requests, LARGEST, 4)
        if not packet:
            return
        if os.fork() == 0:
            requests.close()
            _watched(json.loads(packet), *descriptors)
            os._exit(0)
        for descriptor in descriptors:
            os.close(descriptor)


def _watched(request: dict[str, Any], given: int, out: int, err: int, answer: int) -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    command = os.fork()
    if command == 0:
        os.close(answer)
        for number, descriptor in enumerate((given, out, err)):
            os.dup2(descriptor, number)
            os.close(descriptor)
        code = _run(request)
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    _, status = os.waitpid(command, 0)
    os.write(answer, str(os.waitstatus_to_exitcode(status)).encode())


def _run(request: dict[str, Any]) -> int:
    os.environ.clear()
    os.environ.update(request["environment"])
    name, *arguments = request["argv"]
    try:
        GROUPS[name].main(arguments, prog_name=name)
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else 1
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


if __name__ == "__main__":
    for group in GROUPS.values():
        for where in group.elsewhere.values():
            import_module(where.partition(":")[0])
    serve(socket.socket(fileno=int(sys.argv[1])))
