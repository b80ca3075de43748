"""Bare machines of a test's own on the lab's network, and zones that they may have."""

import ipaddress
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dns.query
import dns.tsigkeyring
import dns.update

from orchestrator.lab import containers, images, network
from orchestrator.lab.access import Lab
from orchestrator.lab.containers import File, Machine

BOOT_SECONDS = 120.0


@dataclass(frozen=True)
class Bare:
    """A Debian that boots, with nothing on it; commands run as root."""

    container: str
    address: str

    def run(self, script: str, seconds: float = 280.0) -> subprocess.CompletedProcess[str]:
        """Run a bash script in root's home; its exit code is the caller's business."""
        command = ["docker", "exec", "-i", "-w", "/root", "-e", "DEBIAN_FRONTEND=noninteractive"]
        command += ["-e", "LC_ALL=C.UTF-8", "-e", "HOME=/root", self.container]
        return subprocess.run(
            [*command, "bash", "-euo", "pipefail", "-c", script],
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )

    def ok(self, script: str, seconds: float = 280.0) -> str:
        """Run a script that must succeed; gives what it printed."""
        done = self.run(script, seconds)
        assert done.returncode == 0, f"{script}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def put(self, path: str, source: Path) -> None:
        """Copy a file there, root's and readable by all."""
        command = ["docker", "cp", "-q", str(source), f"{self.container}:{path}"]
        subprocess.run(command, check=True, timeout=60)
        self.ok(f"chown root:root {path}; chmod 644 {path}")


@contextmanager
def booted(lab: Lab, fqdn: str, os: str, host: int, extra: Sequence[str] = ()) -> Iterator[Bare]:
    """A bare machine for the block.

    :param host: the last part of its addresses in the lab's networks.
    :param extra: further addresses on its interface, with prefix length.
    """
    net = lab.topology.network
    address = net.ipv4.network_address + host
    address6 = ipaddress.ip_address(str(net.ipv6.network_address) + str(host))
    name = fqdn.partition(".")[0]
    machine = Machine(
        name=name,
        image=images.bare(os).tag,
        hostname=fqdn,
        address=address,
        address6=address6,
        extra=tuple(extra),
        mounts={"/etc/resolv.conf": str(lab.state.path("resolv.conf"))},
        files={
            # Its mirror is the cache that came with its image, which leaves documentation out.
            "/etc/apt/apt.conf.d/99lab": File('APT::Install-Recommends "false";\n'),
            "/etc/dpkg/dpkg.cfg.d/zz-lab": File("path-include=/usr/share/doc/mailfleet/*\n"),
        },
    )
    made: Any = network.find(lab.client, net)
    containers.ensure(lab.client, machine, made, lab.state.dir)
    container = lab.client.containers.get(containers.container_name(net.name, name))
    try:
        containers.wait_booted(container, deadline=time.monotonic() + BOOT_SECONDS)
        yield Bare(container.name, str(address))
    finally:
        container.remove(force=True, v=True)


@contextmanager
def delegated(lab: Lab, *names: str) -> Iterator[None]:
    """Zones that the fleet's TSIG key may update, for the block."""
    for name in names:
        lab.add_zone(name, managed=True)
    try:
        yield
    finally:
        for name in names:
            lab.remove_zone(name)


def publish(
    described: dict[str, Any], secret: str, zone: str, *records: tuple[str, int, str, str]
) -> None:
    """What whoever keeps a zone writes into it by hand: name, TTL, type and value of each."""
    dns_ = described["dns"]
    keyring = dns.tsigkeyring.from_text({dns_["tsig_name"]: secret})
    update = dns.update.UpdateMessage(zone, keyring=keyring, keyalgorithm=dns_["tsig_algorithm"])
    for record in records:
        update.replace(*record)
    answer = dns.query.tcp(update, dns_["authoritative"], timeout=5)
    assert answer.rcode() == 0, answer
