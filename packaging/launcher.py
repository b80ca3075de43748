#!/usr/lib/mailfleet/bin/python3 -I
"""`mailfleet` and `reconcile` as the package installs them.

Root becomes the user `mailfleet` first: no file of root's comes into the state directory, and a
command sees exactly what the services see. Settings are those of /etc/mailfleet/mailfleet.toml
unless MAILFLEET_CONFIG or --config names others.
"""

import os
import pwd
import sys
from pathlib import Path

USER = "mailfleet"
CONFIG = "/etc/mailfleet/mailfleet.toml"


def become(user: str) -> None:
    """Give up root's rights for those of a user, for good."""
    try:
        entry = pwd.getpwnam(user)
    except KeyError:
        sys.exit(f"error: there is no user {user}: dpkg-reconfigure mailfleet makes it")
    os.initgroups(user, entry.pw_gid)
    os.setgid(entry.pw_gid)
    os.setuid(entry.pw_uid)
    os.environ |= {"HOME": entry.pw_dir, "USER": user, "LOGNAME": user}


def main() -> None:
    """Run the command that this file was started as."""
    if os.geteuid() == 0:
        become(USER)
    os.umask(0o077)
    # What -I is to this process: those that it starts take no modules from elsewhere either.
    for name in [name for name in os.environ if name.startswith("PYTHON")]:
        del os.environ[name]
    os.environ["PYTHONSAFEPATH"] = "1"
    os.environ.setdefault("MAILFLEET_CONFIG", CONFIG)

    from orchestrator import cli

    name = Path(sys.argv[0]).name
    commands = {"mailfleet": cli.mailfleet, "reconcile": cli.reconcile}
    commands[name](prog_name=name)


# Worker processes import this file once more, under another name.
if __name__ == "__main__":
    main()
