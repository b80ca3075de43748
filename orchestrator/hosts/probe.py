"""Looking at a host: one command, one round trip, and a pure parser of its answer."""

from dataclasses import dataclass, field, replace
from importlib.resources import files

from orchestrator.conditions import Reason
from orchestrator.hosts.errors import HostError
from orchestrator.hosts.ssh import Pool, SshTarget

SCRIPT = files("orchestrator.hosts").joinpath("scripts/probe.sh").read_text()
SUPPORTED = ("debian12", "debian13")


@dataclass(frozen=True)
class FileState:
    """One file as it stands on the host. ``mode`` is an octal number such as 0o640."""

    digest: str
    mode: int
    owner: str
    group: str


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
    """What a probe looks at. In ``trees`` every file is ours, so leftovers are seen."""

    files: tuple[str, ...] = ()
    trees: tuple[str, ...] = ()
    directories: tuple[str, ...] = ()
    accounts: tuple[str, ...] = ()
    units: tuple[str, ...] = ()
    packages: tuple[str, ...] = ()

    def lines(self) -> str:
        """As the probe's script reads it."""
        kinds = {
            "file": self.files,
            "tree": self.trees,
            "directory": self.directories,
            "account": self.accounts,
            "unit": self.units,
            "package": self.packages,
        }
        return "".join(f"{kind} {name}\n" for kind, names in kinds.items() for name in names)


@dataclass
class Observed:
    """What a probe saw. ``free_kib`` is the least free space among /etc and /var, in KiB."""

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
    clock: int = 0


def probe(pool: Pool, target: SshTarget, watch: Watch) -> Observed:
    """Look at a host.

    :raises HostError: when it can't be reached, is not a supported Debian, or we aren't root.
    """
    answer = pool.run(target, command(), watch.lines().encode())
    observed = parse(answer.stdout)
    if observed.os not in SUPPORTED:
        raise HostError(Reason.UNSUPPORTED_OS, f"the host runs {observed.os or 'something else'}")
    if observed.user != 0:
        raise HostError(Reason.PERMISSION_DENIED, f"{target.user} is not root there")
    return observed


def command() -> str:
    """The probe's script as one shell command, which reads ``Watch.lines()``."""
    return "sh -c '" + SCRIPT.replace("'", "'\\''") + "'"


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
        case ["os", name]:
            seen.os = name
        case ["user" | "generation" | "queue" | "clock" as name, number]:
            setattr(seen, name, int(number))
        case ["applied", daemon, digest]:
            seen.applied[daemon] = digest
        case ["file", mode, owner, group, path]:
            seen.files[path] = FileState("", int(mode, 8), owner, group)
        case ["digest", digest, path] if path in seen.files:
            seen.files[path] = replace(seen.files[path], digest=digest)
        case ["directory", mode, owner, group, path]:
            seen.directories[path] = FileState("", int(mode, 8), owner, group)
        case ["account", name, uid, gid, groups]:
            seen.accounts[name] = AccountState(int(uid), int(gid), frozenset(groups.split()))
        case ["index", path]:
            seen.indexes.add(path)
        case ["unit", name, active, enabled]:
            seen.units[name] = UnitState(active == "active", enabled == "enabled")
        case ["package", name, status, version] if status.startswith("ii"):
            seen.packages[name] = version
        case ["disk", _mount, free]:
            seen.free_kib = min(int(free), seen.free_kib or int(free))
