"""What goes wrong, for the length of a block. Whatever happens in it, the lab is as before."""

import re
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from itertools import product

from labkit import Machine

STATE = "/var/lib/mailfleet"


def _root(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True, timeout=60)


@contextmanager
def _rule(table: str, chain: str, *match: str, command: str = "iptables") -> Iterator[None]:
    _root(command, "-w", "-t", table, "-I", chain, *match)
    try:
        yield
    finally:
        _root(command, "-w", "-t", table, "-D", chain, *match)


@contextmanager
def disk_full(machine: Machine) -> Iterator[None]:
    """Nothing more fits where Mailfleet keeps its own files on the host."""
    machine.sh(
        f"rm -rf /run/kept && cp -a {STATE} /run/kept && mount -t tmpfs -o size=4m full {STATE}"
        f" && cp -a /run/kept/. {STATE}/ && ! dd if=/dev/zero of={STATE}/fill bs=4k 2>/dev/null"
    )
    try:
        yield
    finally:
        machine.sh(f"umount -l {STATE} && rm -rf /run/kept")


@contextmanager
def read_only(machine: Machine, path: str) -> Iterator[None]:
    """A directory of the host can't be written to; what is mounted below it stays in sight."""
    machine.sh(f"mount --rbind {path} {path} && mount -o remount,ro,bind {path}")
    try:
        yield
    finally:
        # Lazily: a daemon that was started meanwhile may hold files of it.
        machine.sh(f"mount -o remount,rw,bind {path} && umount -l {path}")


@contextmanager
def frozen(machine: Machine) -> Iterator[None]:
    """Every process of the host stands still; its kernel still takes up connections."""
    _root("docker", "pause", machine.container)
    try:
        yield
    finally:
        _root("docker", "unpause", machine.container)


@contextmanager
def lost(addresses: Sequence[str], port: int) -> Iterator[None]:
    """What servers say is lost on its way to us; others reach them."""
    with ExitStack() as rules:
        for address, protocol in product(addresses, ("tcp", "udp")):
            match = ("-p", protocol, "-s", address, "--sport", str(port), "-j", "DROP")
            command = "ip6tables" if ":" in address else "iptables"
            rules.enter_context(_rule("filter", "INPUT", *match, command=command))
        yield


@contextmanager
def servfail(servers: Machine, zone: str) -> Iterator[None]:
    """The resolver can't reach the zone's servers, and says so."""
    servers.sh(f"unbound-control forward_add {zone} 127.0.0.1@9; unbound-control flush_zone {zone}")
    try:
        yield
    finally:
        servers.sh(f"unbound-control forward_remove {zone} && unbound-control flush_zone {zone}")


@contextmanager
def lame(servers: Machine, zone: str) -> Iterator[None]:
    """The zone is delegated to a server that does not serve it."""
    zones = servers.sh("cat /etc/knot/zones.conf")
    without = re.sub(rf'  - domain: "{re.escape(zone)}"\n    template: \w+\n', "", zones)
    assert without != zones
    serve = "cat > /etc/knot/zones.conf && knotc reload && unbound-control reload"
    assert servers.run("sh", "-ceu", serve, stdin=without.encode()).returncode == 0
    try:
        yield
    finally:
        assert servers.run("sh", "-ceu", serve, stdin=zones.encode()).returncode == 0


@contextmanager
def diverted(machine: Machine, port: int, mark: int) -> Iterator[None]:
    """Our connections to the host's SSH server end at a port of ours, but for marked ones."""
    address = machine.described["address"]
    match = ("-p", "tcp", "-d", address, "--dport", "22", "-m", "mark", "!", "--mark", str(mark))
    with _rule("nat", "OUTPUT", *match, "-j", "REDIRECT", "--to-ports", str(port)):
        yield


@contextmanager
def refusing(machine: Machine, unit: str) -> Iterator[None]:
    """A daemon that won't take up a new configuration: its reload fails."""
    directory = f"/run/systemd/system/{unit}.d"
    machine.sh(
        f"mkdir -p {directory} && printf '[Service]\\nExecReload=\\nExecReload=/bin/false\\n'"
        f" > {directory}/chaos.conf && systemctl daemon-reload"
    )
    try:
        yield
    finally:
        machine.sh(f"rm -r {directory} && systemctl daemon-reload")


@contextmanager
def without_root(machine: Machine) -> Iterator[str]:
    """Gives a user of the host who has our key, but isn't root."""
    machine.sh(
        "useradd -m chaos && mkdir -p /home/chaos/.ssh"
        " && cp /root/.ssh/authorized_keys /home/chaos/.ssh/ && chown -R chaos: /home/chaos/.ssh"
    )
    try:
        yield "chaos"
    finally:
        machine.sh("pkill -KILL -u chaos; userdel -r chaos 2>/dev/null || true")
