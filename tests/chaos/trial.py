"""One trial: spoil a host, hurt it, let it recover, and see what its clients noticed."""

import random
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from multiprocessing.process import BaseProcess
from typing import TypeVar

from chaos import pace, processes, table
from chaos.arena import Arena
from chaos.findings import Span
from labkit import Machine, wait_for

from orchestrator.results import Result

T = TypeVar("T")

#: Files that stay right with a line of comment at their end.
SPOILT = (
    "/etc/postfix/main.cf",
    "/etc/postfix/master.cf",
    "/etc/postfix/tables/domains",
    "/etc/postfix/tables/mailboxes",
    "/etc/postfix/tables/sender_transport",
    "/etc/dovecot/dovecot.conf",
    "/etc/opendkim.conf",
    "/etc/opendkim/key_table",
    "/etc/opendkim/signing_table",
)
DAEMONS = ("postfix", "dovecot", "opendkim")
#: Passes that may be needed after the fault has ended.
PASSES = 2


@dataclass
class Trial:
    """One scenario on one host; see ``trial``."""

    arena: Arena
    machine: Machine
    row: table.Row
    bearable: float
    began: float = field(default_factory=time.monotonic)
    excused: list[Span] = field(default_factory=list)
    calm: list[float] = field(default_factory=list)
    suffering: list[float] = field(default_factory=list)

    @property
    def other(self) -> str:
        """The host that nothing is wrong with."""
        return next(name for name in self.arena.hosts if name != self.machine.name)

    def spoil(self, seed: int = 0) -> None:
        """Give a pass something to do: files differ, and every daemon has to be reloaded."""
        chosen = random.Random(seed).sample(SPOILT, 3)
        lines = [f"printf '# chaos\\n' >> {path}" for path in chosen]
        lines += [f"echo spoilt > /var/lib/mailfleet/applied/{name}" for name in DAEMONS]
        self.machine.sh("; ".join(lines))

    def settle(self) -> Result:
        """A pass over the host."""
        return self.arena.settle(self.machine.name)

    def reconciler(self) -> AbstractContextManager[BaseProcess]:
        """A reconciler in a process of its own, that makes one pass over the host."""
        return processes.reconciler(self.arena.config, self.arena.hosts[self.machine.name])

    def healthy(self, work: Callable[[], object]) -> None:
        """Do without the fault what will be done under it, and time the other host's passes."""
        self.spoil()
        with self._paced(self.calm):
            work()

    def suffer(self, work: Callable[[], T]) -> T:
        """Do something while the fault lasts, and time the other host's passes."""
        with self._paced(self.suffering):
            return work()

    @contextmanager
    def _paced(self, into: list[float]) -> Iterator[None]:
        with pace.pacing(lambda: self.arena.orderly(self.other), into):
            yield

    @contextmanager
    def excuse(self) -> Iterator[None]:
        """What the fault itself makes impossible is nobody's failure."""
        began = time.monotonic()
        try:
            yield
        finally:
            self.excused.append((began, time.monotonic()))

    def converge(self) -> None:
        """The fault has ended: the host must be as wanted within so many passes."""
        results: list[Result] = []
        while not results or (results[-1].reason and len(results) < PASSES):
            results.append(self.settle())
        assert results[-1].reason is None, f"not converged after {PASSES} passes: {results}"
        self.row.seeds += 1
        self.row.passes = max(self.row.passes, len(results))
        wait_for("a tidy host", lambda: not self._left(), 30)

    def _left(self) -> str:
        """What a push should have taken away. One that nobody waits for may still be at work."""
        return self.machine.sh(
            "find /var/lib/mailfleet -maxdepth 1 -name 'stage.*'; find /etc -name '*.mailfleet-*'"
            f"; grep -l '^# chaos' {' '.join(SPOILT)} || true"
        )

    def judge(self) -> None:
        """Both hosts served all the time, and the other one's passes took no longer."""
        span = (self.began, time.monotonic())
        seen = self.arena.notes.judge(self.machine.name, span, self.excused)
        other = self.arena.notes.judge(self.other, span, [])
        self.row.looks, self.row.dropped = seen.looks, seen.dropped
        self.row.longest_outage = round(seen.longest)
        assert not other.outages, f"{self.other}: {other.outages}"
        assert not seen.lost, seen.lost
        assert not seen.outages or seen.longest <= self.bearable * 1000, seen
        if self.suffering:
            self.row.calm = statistics.median(self.calm)
            self.row.suffering = statistics.median(self.suffering)
            assert not pace.delayed(self.calm, self.suffering), (self.calm, self.suffering)


@contextmanager
def trial(arena: Arena, scenario: str, machine: Machine, bearable: float = 0.0) -> Iterator[Trial]:
    """Run a scenario on a host; a row is kept when it passed. The host converges whatever came.

    :param bearable: seconds for which the fault itself keeps the host from serving.
    """
    arena.settle(machine.name)
    made = Trial(arena, machine, table.Row(scenario, machine.name), bearable)
    try:
        yield made
        if not made.row.seeds:
            made.converge()
    finally:
        arena.settle(machine.name)
    made.judge()
    table.keep(made.row)
