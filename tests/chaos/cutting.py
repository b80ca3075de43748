"""A way to a host's SSH server that breaks after so many bytes."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

#: Set on the connections of our own, so that the diversion leaves them alone.
MARK = 0x6D66


class Cutter:
    """Passes bytes on in both directions until the ``limit`` of all connections is used up."""

    def __init__(self, target: tuple[str, int]) -> None:
        self._target = target
        self._listener = socket.create_server(("0.0.0.0", 0))
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        self.port: int = self._listener.getsockname()[1]
        self.limit = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Cut everything."""
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._cut()

    def _cut(self) -> None:
        with self._lock:
            for end in self._open:
                with suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)
                end.close()
            self._open.clear()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            far = socket.socket()
            far.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, MARK)
            far.connect(self._target)
            with self._lock:
                self._open |= {near, far}
            for ends in ((near, far), (far, near)):
                threading.Thread(target=self._pass_on, args=ends, daemon=True).start()

    def _pass_on(self, source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(min(4096, max(1, self.limit))):
                with self._lock:
                    self.limit -= len(data)
                if self.limit < 0:
                    break
                sink.sendall(data)
        self._cut()


@contextmanager
def cutter(address: str) -> Iterator[Cutter]:
    """Stand before a host's SSH server until the block ends."""
    made = Cutter((address, 22))
    try:
        yield made
    finally:
        made.close()
