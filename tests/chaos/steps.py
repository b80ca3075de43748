"""Sees from outside which step of apply a host is at; the host itself knows nothing of it.

``apply.sh`` opens something of its own at the start of each step, and inotify tells: through
``/proc/PID/root`` a container's directories can be watched like any other.
"""

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from inotify_simple import INotify, flags
from labkit import Machine

STATE = Path("var/lib/mailfleet")

#: In their order: the step, and what is opened in the stage directory as it begins. The first
#: is told from the unpacking by its being read, not written.
SIGNS = {
    "gather": "generation",
    "prepare": "manifest",
    "validate": "validate",
    "copy": "manifest",
    "swap": "digests",
    "reload": "reload",
    "smoke": "smoke",
    "commit": "digests",
}
STEPS = tuple(SIGNS)


def root(machine: Machine) -> Path:
    """The root directory of a container, as this machine sees it."""
    command = ["docker", "inspect", "-f", "{{.State.Pid}}", machine.container]
    pid = subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
    return Path("/proc") / pid / "root"


class Watch:
    """The pushes to one host, from the moment that the watch began."""

    def __init__(self, state: Path, inotify: INotify) -> None:
        self._state = state
        self._inotify = inotify
        self._stages: dict[int, Path] = {}
        self._above = inotify.add_watch(str(state), flags.CREATE)

    def reach(self, step: str, seconds: float) -> str | None:
        """Wait until a push begins this step.

        :returns: the name of its stage directory, or None when that has not happened in time.
        """
        ahead = list(SIGNS.values())[: STEPS.index(step) + 1]
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            for event in self._inotify.read(timeout=200):
                if event.wd == self._above:
                    self._begin(event.name)
                elif event.wd in self._stages and ahead and event.name == ahead[0]:
                    first = len(ahead) == STEPS.index(step) + 1
                    if event.mask & (flags.CLOSE_NOWRITE if first else flags.OPEN):
                        ahead.pop(0)
            if not ahead:
                return next(reversed(self._stages.values())).name
        return None

    def _begin(self, name: str) -> None:
        stage = self._state / name
        if name.startswith("stage."):
            watch = self._inotify.add_watch(str(stage), flags.OPEN | flags.CLOSE_NOWRITE)
            self._stages[watch] = stage


@contextmanager
def watching(machine: Machine) -> Iterator[Watch]:
    """Watch a host's pushes until the block ends."""
    with INotify() as inotify:
        yield Watch(root(machine) / STATE, inotify)
