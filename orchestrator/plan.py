"""The difference between what a host must be and what it is: pure, and safe to print."""

import difflib
import hashlib
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from orchestrator.errors import OrchestratorError
from orchestrator.hosts.probe import FileState, Observed
from orchestrator.hostspec import MailStore, RenderedFile
from orchestrator.rendering.requirements import Requirements

#: Least entries of which a share means anything.
FEW = 10
#: What has cut the sessions of former logins, among the daemons that have read their files.
SESSIONS = "sessions"
#: Names of removed entries in a message.
SHOWN = 3
REDACTED = "(secret: contents are not shown)"


class Action(StrEnum):
    """What a change does to its subject."""

    INSTALL = "install"
    CREATE = "create"
    UPDATE = "update"
    DELETE = "delete"
    RELOAD = "reload"
    START = "start"
    CUT = "cut"


@dataclass(frozen=True)
class Change:
    """One difference. ``why`` is a few words; ``diff`` is unified, and redacted if secret."""

    action: Action
    subject: str
    why: str = ""
    diff: str = ""

    def as_dict(self) -> dict[str, Any]:
        """For JSON and for the Run."""
        return {
            "action": str(self.action),
            "subject": self.subject,
            "why": self.why,
            "diff": self.diff,
        }


class UnsafePlan(OrchestratorError):  # noqa: N818 - named for what it reports, like the others
    """A plan removes much that nobody asked to remove."""

    kind = "unsafe_plan"


@dataclass(frozen=True)
class Removal:
    """Entries that a plan takes out of a file; ``serves`` is how many the host has there now.

    ``names`` are some of those that go, where they are known.
    """

    path: str
    serves: int
    removes: int
    names: tuple[str, ...] = ()

    def exceeds(self, share: float) -> bool:
        """Whether it removes more than that share. A share of a few entries says nothing."""
        return self.serves >= FEW and self.removes > share * self.serves

    def __str__(self) -> str:
        """How much of what."""
        known = f" ({', '.join(self.names[:SHOWN])} …)" if self.names else ""
        return f"{self.removes} of {self.serves} entries of {self.path}{known}"


@dataclass(frozen=True)
class Plan:
    """All differences of one host, and what carries them out."""

    packages: tuple[str, ...] = ()
    accounts: bool = False
    files: tuple[RenderedFile, ...] = ()
    delete: tuple[str, ...] = ()
    #: Daemons to reload or start, whose applied digest is written afterwards.
    daemons: tuple[str, ...] = ()
    changes: tuple[Change, ...] = field(default=())
    #: Whether sessions go on, or may, that logins of before the push began.
    sessions: bool = False
    #: Deleted mailboxes of which mail is left, or may be.
    purges: tuple[MailStore, ...] = ()
    #: Where the host comes to serve less than it does.
    removals: tuple[Removal, ...] = ()

    def unsafe(self, share: float) -> tuple[Removal, ...]:
        """The removals of more than that share of what is served."""
        return tuple(removal for removal in self.removals if removal.exceeds(share))

    def raise_if_unsafe(self, share: float) -> None:
        """Stop a plan that removes too much.

        :param share: of the mailboxes, domains or signing keys that the host serves now.
        :raises UnsafePlan: saying what would go.
        """
        if unsafe := self.unsafe(share):
            told = ", ".join(map(str, unsafe))
            raise UnsafePlan(f"it would remove {told}, which nobody asked for")

    def without_asked(self, removed: Mapping[str, Sequence[str]], asked: Set[str]) -> "Plan":
        """The plan with the removals that somebody asked for left out of account.

        :param removed: the names that go, by path.
        """
        left = []
        for removal in self.removals:
            names = tuple(name for name in removed.get(removal.path, ()) if name not in asked)
            left.append(replace(removal, removes=len(names), names=names))
        return replace(self, removals=tuple(left))

    @property
    def empty(self) -> bool:
        """Whether there is nothing to do."""
        return not self.changes

    @property
    def only_files(self) -> bool:
        """Whether there is something to do, and it is about files and daemons alone."""
        return not self.empty and not self.packages and not self.accounts

    @property
    def carried(self) -> bool:
        """Whether any of it is for the transaction on the host."""
        return bool(self.files or self.delete or self.daemons or self.sessions or self.purges)

    @property
    def summary(self) -> str:
        """The first few changes, in a line."""
        return ", ".join(f"{change.subject} {change.why}" for change in self.changes[:5])


def daemon_digests(files: Sequence[RenderedFile]) -> dict[str, str]:
    """For each daemon a digest of all that it read at its last reload."""
    inputs: dict[str, list[str]] = {}
    for file in sorted(files, key=lambda f: f.path):
        if file.daemon is not None:
            inputs.setdefault(file.daemon, []).append(f"{file.path} {file.digest}")
    return {
        daemon: hashlib.sha256("\n".join(lines).encode()).hexdigest()
        for daemon, lines in inputs.items()
    }


def sessions_digest(files: Sequence[RenderedFile], required: Requirements) -> str:
    """A digest of the logins that sessions may have begun with."""
    found = sorted(f"{file.path} {file.digest}" for file in files if file.path in required.logins)
    return hashlib.sha256("\n".join(found).encode()).hexdigest()


def compare(
    files: Sequence[RenderedFile],
    required: Requirements,
    observed: Observed,
    purges: Sequence[MailStore] = (),
) -> Plan:
    """What must change, without the diffs.

    :param purges: deleted mailboxes of which no mail may be left.
    """
    packages = tuple(name for name in required.packages if name not in observed.packages)
    accounts = not required.accounts_satisfied(observed.accounts, observed.directories)
    differing = [(file, _difference(file, observed)) for file in files]
    changed = [(file, why) for file, why in differing if why]
    known = {file.path for file in files}
    leftovers = tuple(sorted(path for path in observed.files if path not in known))
    daemons = _daemons(files, required, observed)
    sessions = observed.applied.get(SESSIONS, "") != sessions_digest(files, required)
    left = tuple(store for store in purges if store.home not in observed.purged)
    changes = [
        *(Change(Action.INSTALL, name, "not installed") for name in packages),
        *([Change(Action.CREATE, "accounts and directories")] if accounts else []),
        *(
            Change(Action.UPDATE if file.path in observed.files else Action.CREATE, file.path, why)
            for file, why in changed
        ),
        *(Change(Action.DELETE, path, "no longer wanted") for path in leftovers),
        *(Change(action, name, why) for name, (action, why) in daemons.items()),
        # Where the password file itself changes, that says it.
        *(
            [Change(Action.CUT, SESSIONS, "logins have changed")]
            if sessions and all(file.path not in required.logins for file, _ in changed)
            else []
        ),
        *(Change(Action.DELETE, store.home, "the mailbox is deleted") for store in left),
    ]
    return Plan(
        packages=packages,
        accounts=accounts or bool(packages),
        files=tuple(file for file, _ in changed),
        delete=leftovers,
        daemons=tuple(daemons),
        changes=tuple(changes),
        sessions=sessions,
        purges=left,
        removals=tuple(_removals([file for file, _ in changed], observed)),
    )


def entries(text: str) -> list[str]:
    """What each line of a table or password file is about, as the probe counts them."""
    lines = (line for line in text.splitlines() if not line.startswith("#"))
    return [line.partition(":")[0].partition(" ")[0] for line in lines]


def _removals(changed: Sequence[RenderedFile], observed: Observed) -> Iterator[Removal]:
    for file in changed:
        serves = observed.entries.get(file.path, 0)
        keeps = len(entries(file.content)) if serves else 0
        if keeps < serves:
            yield Removal(file.path, serves, serves - keeps)


def _difference(file: RenderedFile, observed: Observed) -> str:
    seen = observed.files.get(file.path)
    if seen is None:
        return "missing"
    if seen.digest != file.digest:
        return "content differs"
    if seen != FileState(file.digest, file.mode, file.owner, file.group):
        return f"is {seen.mode:o} {seen.owner}:{seen.group}"
    if file.lookup_table and file.path not in observed.indexes:
        return "its index is missing or stale"
    return ""


def _daemons(
    files: Sequence[RenderedFile], required: Requirements, observed: Observed
) -> dict[str, tuple[Action, str]]:
    found: dict[str, tuple[Action, str]] = {}
    for daemon, digest in daemon_digests(files).items():
        unit = observed.units.get(required.units[daemon])
        if unit is None or not unit.active:
            found[daemon] = (Action.START, "not running")
        elif observed.applied.get(daemon) != digest:
            found[daemon] = (Action.RELOAD, "has not read its present files")
    return found


def with_diffs(plan: Plan, current: Mapping[str, str]) -> Plan:
    """Add unified diffs.

    :param current: text of the files as they stand on the host; secret ones aren't needed.
    """
    diffs = {
        file.path: "\n".join(
            difflib.unified_diff(
                current.get(file.path, "").splitlines(),
                file.content.splitlines(),
                f"{file.path} (on the host)",
                f"{file.path} (wanted)",
                lineterm="",
            )
        )
        for file in plan.files
        if not file.secret
    }
    return explained(plan, diffs)


def explained(plan: Plan, diffs: Mapping[str, str]) -> Plan:
    """Put these diffs to the changes, by path; those of secret files are never shown."""
    secret = {file.path for file in plan.files if file.secret}

    def explain(change: Change) -> Change:
        diff = REDACTED if change.subject in secret else diffs.get(change.subject, "")
        return replace(change, diff=diff)

    return replace(plan, changes=tuple(explain(change) for change in plan.changes))
