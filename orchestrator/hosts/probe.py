"""Looking at a host: one command, one round trip, and a pure parser of its answer."""

import time
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from importlib.resources import files

from orchestrator.conditions import Reason
from orchestrator.hosts.errors import HostError
from orchestrator.hosts.ssh import Pool, SshTarget

SCRIPT = files("orchestrator.hosts").joinpath("scripts/probe.sh").read_text()
#: The script as one shell command, which reads ``Watch.lines()``.
COMMAND = "exec bash -c '" + SCRIPT.replace("'", "'\\''") + "'"
SUPPORTED = ("debian12", "debian13")
#: Seconds by which the time of a file's change may be behind the clock (clock_gettime(2): coarse).
CLOCK_TICK = 0.01


@dataclass(frozen=True)
class FileState:
    """One file as it stands on the host. ``mode`` is an octal number such as 0o640.

    ``changed`` is when it came to stand there, in whole seconds of the host's clock; no file
    is another for it.
    """

    digest: str
    mode: int
    owner: str
    group: str
    changed: int = field(default=0, compare=False)


@dataclass(frozen=True)
class UnitState:
    """A systemd unit."""

    active: bool
    enabled: bool


@dataclass(frozen=True)
class AccountState:
    """A system user and the groups it belongs to."""

    uid: int
    gid: int
    groups: frozenset[str]


@dataclass(frozen=True)
class Watch:
    """What a probe looks at. In ``trees`` every file is ours, so leftovers are seen.

    The lines of ``entries`` are counted: they tell how much a host serves. Of ``purged`` paths
    nothing may be left.
    """

    files: tuple[str, ...] = ()
    trees: tuple[str, ...] = ()
    directories: tuple[str, ...] = ()
    accounts: tuple[str, ...] = ()
    units: tuple[str, ...] = ()
    packages: tuple[str, ...] = ()
    entries: tuple[str, ...] = ()
    purged: tuple[str, ...] = ()

    def lines(self) -> str:
        """As the probe's script reads it."""
        kinds = {
            "file": self.files,
            "tree": self.trees,
            "directory": self.directories,
            "account": self.accounts,
            "unit": self.units,
            "package": self.packages,
            "entries": self.entries,
            "purged": self.purged,
        }
        return "".join(f"{kind} {name}\n" for kind, names in kinds.items() for name in names)


@dataclass
class Observed:
    """What a probe saw.

    ``free_kib`` is the least free space among /etc and /var, in KiB; ``queue`` counts messages;
    ``load`` is that of one minute for each processor; ``clock_skew`` is how many seconds the
    host's clock is ahead of ours, to within half a round trip; ``entries`` is by path; ``purged``
    are the paths asked about of which nothing is left.
    """

    os: str = ""
    user: int = -1
    generation: int = 0
    applied: dict[str, str] = field(default_factory=dict)
    files: dict[str, FileState] = field(default_factory=dict)
    indexes: set[str] = field(default_factory=set)
    directories: dict[str, FileState] = field(default_factory=dict)
    accounts: dict[str, AccountState] = field(default_factory=dict)
    units: dict[str, UnitState] = field(default_factory=dict)
    packages: dict[str, str] = field(default_factory=dict)
    free_kib: int | None = None
    queue: int = 0
    load: float = 0.0
    clock: float = 0.0
    clock_skew: float = 0.0
    entries: dict[str, int] = field(default_factory=dict)
    purged: set[str] = field(default_factory=set)

    def settles_in(self, paths: Iterable[str]) -> float:
        """Seconds, at most one, until who looks at these files once in a second has seen them."""
        changed = [self.files[path].changed for path in paths if path in self.files]
        until = max(changed, default=0) + 1 + CLOCK_TICK
        return min(1.0, max(0.0, until - self.clock))


def probe(pool: Pool, target: SshTarget, watch: Watch) -> Observed:
    """Look at a host.

    :raises HostError: when it can't be reached, is not a supported Debian, or we aren't root.
    """
    asked = time.time()
    answer = pool.run(target, COMMAND, watch.lines().encode())
    observed = parse(answer.stdout)
    observed.clock_skew = observed.clock - (asked + time.time()) / 2
    if observed.os not in SUPPORTED:
        raise HostError(Reason.UNSUPPORTED_OS, f"the host runs {observed.os or 'something else'}")
    if observed.user != 0:
        raise HostError(Reason.PERMISSION_DENIED, f"{target.user} is not root there")
    return observed


def parse(text: str) -> Observed:
    """Read the probe's answer.

    :raises HostError: when it is cut short, which would look like missing files.
    """
    lines = text.splitlines()
    if not lines or lines[-1] != "end":
        raise HostError(Reason.TIMED_OUT, "the probe's answer is cut short")
    seen = Observed()
    for line in lines[:-1]:
        _take(seen, line.split("\t"))
    return seen


def _take(seen: Observed, fact: list[str]) -> None:
    match fact:
        case ["applied", daemon, digest]:
            seen.applied[daemon] = digest
        case ["file", mode, owner, group, changed, path]:
            seen.files[path] = FileState("", int(mode, 8), owner, group, int(changed))
        case ["digest", digest, path] if path in seen.files:
            seen.files[path] = replace(seen.files[path], digest=digest)
        case ["directory", mode, owner, group, path]:
            seen.directories[path] = FileState("", int(mode, 8), owner, group)
        case ["account", name, uid, gid, groups]:
            seen.accounts[name] = AccountState(int(uid), int(gid), frozenset(groups.split()))
        case ["index", path]:
            seen.indexes.add(path)
        case ["purged", path]:
            seen.purged.add(path)
        case ["unit", name, active, enabled]:
            seen.units[name] = UnitState(active == "active", enabled == "enabled")
        case ["package", name, status, version] if status.startswith("ii"):
            seen.packages[name] = version
        case ["entries", number, path]:
            seen.entries[path] = int(number)
        case _:
            _take_figure(seen, fact)


def _take_figure(seen: Observed, fact: list[str]) -> None:
    match fact:
        case ["os", name]:
            seen.os = name
        case ["user" | "generation" | "queue" as name, number]:
            setattr(seen, name, int(number))
        case ["clock", seconds]:
            seen.clock = float(seconds)
        case ["load", load, processors]:
            seen.load = float(load) / _count(processors)
        case ["disk", _path, blocks, size]:
            free = int(blocks) * int(size) // 1024
            seen.free_kib = free if seen.free_kib is None else min(free, seen.free_kib)


def _count(processors: str) -> int:
    """How many are in a list such as ``0-3,6`` (cpu-lists, proc(5))."""
    ranges = [part.split("-") for part in processors.split(",")]
    return sum(int(part[-1]) - int(part[0]) + 1 for part in ranges)
