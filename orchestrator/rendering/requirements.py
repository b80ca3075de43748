"""What a Debian host needs before and around the rendered files, and the commands that use them.

The commands are shell for ``sh -eu``. Validation finds the staged tree in ``$FILES``: the
files that change, under their final path, of any owner and mode.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Protocol

from orchestrator.errors import Invalid
from orchestrator.hostspec import OsName

_SCRIPTS = files("orchestrator.rendering").joinpath("scripts")


class Account(Protocol):
    """A system user as it was seen on a host."""

    @property
    def uid(self) -> int:
        """Its number."""

    @property
    def gid(self) -> int:
        """The number of its primary group."""

    @property
    def groups(self) -> Collection[str]:
        """The names of all groups that it belongs to."""


class Directory(Protocol):
    """A directory as it was seen on a host."""

    @property
    def mode(self) -> int:
        """Its permissions."""

    @property
    def owner(self) -> str:
        """The name of its user."""

    @property
    def group(self) -> str:
        """The name of its group."""


@dataclass(frozen=True)
class Requirements:
    """All of it, for one Debian.

    ``users`` are (name, number of user and group, group, home); ``memberships`` are
    (user, group); ``directories`` are (path, owner, group, octal mode); in
    ``trees`` every file is ours; ``units`` and ``reload`` are by daemon. A reload starts a
    daemon that is not running. ``entries`` are files whose lines tell how much a host serves;
    ``seconds`` those that a daemon looks at once in a whole second at most, without a reload.
    ``logins`` are the password files: sessions of logins that they have no more are cut.
    """

    packages: tuple[str, ...]
    users: tuple[tuple[str, int, str, str], ...]
    memberships: tuple[tuple[str, str], ...]
    directories: tuple[tuple[str, str, str, str], ...]
    trees: tuple[str, ...]
    units: Mapping[str, str]
    entries: tuple[str, ...]
    seconds: tuple[str, ...]
    logins: tuple[str, ...]
    reload: Mapping[str, str]
    smoke: str

    def accounts_satisfied(
        self, accounts: Mapping[str, Account], directories: Mapping[str, Directory]
    ) -> bool:
        """Whether users, memberships and directories are all as they must be."""
        users = all(
            name in accounts and accounts[name].uid == accounts[name].gid == number
            for name, number, *_ in self.users
        )
        members = all(
            user in accounts and group in accounts[user].groups for user, group in self.memberships
        )
        return (
            users
            and members
            and all(
                path in directories
                and (seen := directories[path]).mode == int(mode, 8)
                and (seen.owner, seen.group) == (owner, group)
                for path, owner, group, mode in self.directories
            )
        )


def of(os: OsName) -> Requirements:
    """What a host of this Debian needs.

    :raises Invalid: when there is nothing for it.
    """
    if os not in REQUIREMENTS:
        raise Invalid(f"there are no requirements for {os!r}")
    return REQUIREMENTS[os]


#: Who has to be asked about a file, by the beginning of its path. Lookup tables are asked about
#: by building their index, and a password file has no parser but the login.
_PARSERS = {
    "tls": ("/etc/mailfleet/tls/",),
    "postfix": (
        "/etc/postfix/main.cf",
        "/etc/postfix/master.cf",
        "/etc/postfix/submission_headers",
        "/etc/postfix/reject_footer",
    ),
    "dovecot": ("/etc/dovecot/dovecot.conf",),
    "pace": ("/usr/local/lib/mailfleet/",),
    "opendkim": (
        "/etc/opendkim.conf",
        "/etc/opendkim/policy.lua",
        "/etc/opendkim/key_table",
        "/etc/opendkim/signing_table",
    ),
}


def validation(paths: Iterable[str]) -> str:
    """The script that asks the parsers of just these files."""
    changed = tuple(paths)
    asked = [
        name
        for name, beginnings in _PARSERS.items()
        if any(path.startswith(beginnings) for path in changed)
    ]
    if not asked:
        return ""
    return _script("validate.sh") + "".join(_script(f"validate-{name}.sh") for name in asked)


@cache
def _script(name: str) -> str:
    return _SCRIPTS.joinpath(name).read_text()


def _reload(daemon: str, unit: str) -> str:
    # Sockets and group memberships are taken up at start only, so that the first time it is a
    # restart of what the package started. Later a reload keeps connections and mail flowing.
    # systemd reads a unit that is ours only when it is told to.
    return (
        f"{'systemctl daemon-reload; ' if daemon == 'mailfleet-pace' else ''}"
        f"if [ -e /var/lib/mailfleet/applied/{daemon} ] && systemctl is-enabled --quiet {daemon}; "
        f"then systemctl reload-or-restart {unit}; "
        f"else systemctl enable --quiet {daemon}; systemctl restart {unit}; "
        f"systemctl start {daemon}; fi"
    )


def _debian(postfix_unit: str) -> Requirements:
    units = {
        "postfix": postfix_unit,
        "dovecot": "dovecot.service",
        "opendkim": "opendkim.service",
        "mailfleet-pace": "mailfleet-pace.service",
    }
    return Requirements(
        packages=(
            "ca-certificates",
            "dovecot-core",
            "dovecot-imapd",
            "dovecot-lmtpd",
            "opendkim",
            "openssl",
            "postfix",
        ),
        users=(("vmail", 5000, "vmail", "/var/vmail"),),
        # OpenDKIM's socket is for its group.
        memberships=(("postfix", "opendkim"),),
        directories=(
            ("/etc/mailfleet", "root", "root", "0755"),
            ("/etc/mailfleet/tls", "root", "root", "0755"),
            ("/etc/opendkim", "root", "root", "0755"),
            ("/etc/opendkim/keys", "root", "opendkim", "0750"),
            ("/etc/postfix/tables", "root", "root", "0755"),
            ("/usr/local/lib/mailfleet", "root", "root", "0755"),
            # Postfix makes it at its first start, but Dovecot's sockets stand in it.
            ("/var/spool/postfix/private", "postfix", "root", "0700"),
            ("/var/vmail", "vmail", "vmail", "0700"),
        ),
        trees=("/etc/mailfleet/tls", "/etc/opendkim"),
        units=units,
        entries=(
            "/etc/dovecot/users",
            "/etc/dovecot/credentials",
            "/etc/postfix/tables/domains",
            "/etc/opendkim/key_table",
        ),
        # Dovecot's passwd-file driver: whoever asked before the change answers for that second.
        # Nobody is told that a credential works, so that nothing waits for it.
        seconds=("/etc/dovecot/users",),
        logins=("/etc/dovecot/users", "/etc/dovecot/credentials"),
        reload={daemon: _reload(daemon, unit) for daemon, unit in units.items()},
        smoke=_script("smoke.sh"),
    )


#: Debian 12 runs Postfix in an instance of a template unit; postfix.service only starts it.
REQUIREMENTS: Mapping[OsName, Requirements] = {
    "debian12": _debian("postfix@-.service"),
    "debian13": _debian("postfix.service"),
}
