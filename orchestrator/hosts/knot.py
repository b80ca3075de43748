"""Zones on a Knot DNS server, over SSH with ``knotc`` (its manual page; Knot 3.2 and later).

The configuration must be Knot's database (``knotc conf-import``): of one that is read from a text
file the server forgets new zones when it is started again, and is given them anew.
"""

import shlex
from collections.abc import Sequence

from orchestrator.conditions import Reason
from orchestrator.hosts.errors import HostError
from orchestrator.hosts.ssh import Pool, SshTarget

#: Refresh, retry, expiry and negative TTL of new zones, in seconds (RIPE-203; RFC 2308 section 5).
TIMES = "3600 600 1209600 300"


class Knot:
    """The server.

    :param command: how ``knotc`` is called there.
    :param template: the template of its configuration that zones get.
    """

    def __init__(self, target: SshTarget, *, command: Sequence[str], template: str) -> None:
        self._target = target
        self._command = shlex.join(command)
        self._template = template
        self._pool = Pool()

    def add(self, name: str, *, nameservers: Sequence[str], hostmaster: str, ttl: int) -> None:
        """Serve a zone of a SOA and NS records; one that is there already stays as it is.

        :param name: a valid domain name, as the others; without a trailing dot.
        :param ttl: of its first records, in seconds.
        :raises HostError: when the server can't be reached or refuses.
        """
        soa = f"{nameservers[0]}. {hostmaster}. 1 {TIMES}"
        records = [("SOA", soa), *(("NS", f"{server}.") for server in nameservers)]
        fill = [self._call("zone-set", name, "@", str(ttl), *record) for record in records]
        configured = self._call("conf-read", f"zone[{name}]")
        configure = [
            self._call("conf-set", f"zone[{name}]"),
            self._call("conf-set", f"zone[{name}].template", self._template),
        ]
        filled = self._call("zone-read", name, "@", "SOA")
        self._run(
            f"{configured} || {self._transaction('conf', configure)}",
            # What a run of ours that was cut off has left open is ours to close.
            f"{filled} || {{ {self._call('zone-abort', name)}; "
            f"{self._transaction('zone', fill, name)}; }}",
        )

    def remove(self, name: str) -> None:
        """Serve a zone no more, and forget its records; harmless when there is none.

        :raises HostError: when the server can't be reached or refuses.
        """
        gone = [self._call("conf-unset", f"zone[{name}]")]
        self._run(
            f"! {self._call('conf-read', f'zone[{name}]')} || "
            f"{{ {self._call('-f', 'zone-purge', name)} && {self._transaction('conf', gone)}; }}"
        )

    def close(self) -> None:
        """Close its connection."""
        self._pool.close()

    def _call(self, *words: str) -> str:
        return f"{self._command} {shlex.join(words)}"

    def _transaction(self, kind: str, steps: Sequence[str], *zone: str) -> str:
        """Shell: all of the steps, or none."""
        begin, commit, abort = (
            self._call(f"{kind}-{verb}", *zone) for verb in ("begin", "commit", "abort")
        )
        inside = " && ".join([*steps, commit])
        return f"{{ {begin} && {{ {inside} || {{ {abort}; false; }}; }}; }}"

    def _run(self, *scripts: str) -> None:
        script = "exec 2>&1\n" + "\n".join(f"{{ {script}; }} || exit 1" for script in scripts)
        done = self._pool.run(self._target, script)
        if done.status != 0:
            raise HostError(Reason.UPDATE_REFUSED, f"knotc: {' '.join(done.stdout.split())[-300:]}")
