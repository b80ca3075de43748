"""Says what is going on: a spinner in a terminal, plain lines with seconds elsewhere."""

import contextlib
import time
from collections.abc import Iterator

from rich.console import Console
from rich.markup import escape
from rich.status import Status


class Reporter:
    """Prints the stages of one command on standard error, so that output stays clean."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(stderr=True, highlight=False, soft_wrap=True)
        self.started = time.monotonic()
        self._status: Status | None = None
        self._stage = ""

    def _elapsed(self) -> str:
        return f"{time.monotonic() - self.started:6.1f} s"

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Announce a stage for as long as the block runs."""
        begun = time.monotonic()
        self._stage = name
        if self.console.is_terminal:
            self._status = self.console.status(f"{escape(name)} …")
            self._status.start()
        try:
            yield
        finally:
            if self._status is not None:
                self._status.stop()
                self._status = None
        # Not reached when the block raised: a stage that failed is not ready.
        took = time.monotonic() - begun
        self.console.print(f"[dim]{self._elapsed()}[/dim]  {escape(name)}: ready ({took:.1f} s)")

    def note(self, text: str) -> None:
        """Say what is being done within the stage."""
        if self._status is not None:
            self._status.update(f"{escape(self._stage)}: {escape(text)} …")
        else:
            prefix = f"{self._stage}: " if self._stage else ""
            self.console.print(f"[dim]{self._elapsed()}[/dim]  {escape(prefix + text)}")

    def done(self, text: str) -> None:
        """Say how the command ended."""
        self._stage = ""
        self.console.print(f"[dim]{self._elapsed()}[/dim]  {escape(text)}")
