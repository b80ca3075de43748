"""Python on a host for as long as Ansible needs it there."""

import io
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from orchestrator.hosts.ssh import Pool, SshTarget

#: Installs those of the packages that are missing, and prints their names.
INSTALL = """\
set -eu
directory=$(mktemp -d)
chmod 0755 "$directory"  # apt reads it as a user of its own
cd "$directory"
tar -xf -
files= names=
for file in *.deb; do
  name=$(dpkg-deb -f "$file" Package)
  case $(dpkg-query -W -f '${db:Status-Abbrev}' "$name" 2>/dev/null) in ii*) continue ;; esac
  files="$files ./$file" names="$names $name"
done
export DEBIAN_FRONTEND=noninteractive
[ -z "$files" ] || apt-get install -qq --no-install-recommends $files >/dev/null
cd /
rm -rf "$directory"
echo $names
"""
SECONDS = 300.0


@contextmanager
def installed(pool: Pool, target: SshTarget, debs: Path) -> Iterator[None]:
    """Install the packages of a directory, and at the end remove those that were not there.

    :raises SystemExit: when that fails.
    """
    patient = replace(target, command_timeout=SECONDS)
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for deb in sorted(debs.glob("*.deb")):
            archive.add(deb, deb.name)
    names = _run(pool, patient, INSTALL, buffer.getvalue()).split()
    try:
        yield
    finally:
        if names:
            _run(pool, patient, f"dpkg --purge {' '.join(names)} >/dev/null", b"")


def _run(pool: Pool, target: SshTarget, command: str, stdin: bytes) -> str:
    done = pool.run(target, command, stdin)
    if done.status != 0:
        raise SystemExit(f"{target.name}: {done.stderr[-2000:]}")
    return done.stdout
