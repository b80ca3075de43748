"""Debian's pebble, a real ACME server, on free loopback ports for one test session."""

import json
import os
import socket
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
from labkit import wait_for

from orchestrator.issuers.authority import Authority

LOOPBACK = "127.0.0.1"
#: Pebble refuses this domain, with words of its own.
BLOCKED = "blocked.fleetlab.net"


@dataclass(frozen=True)
class Pebble:
    """A running server. ``ca_file`` is what it is trusted by, ``root`` what its leaves are."""

    directory_url: str
    ca_file: Path
    root: str
    log: Path


@contextmanager
def serve(
    directory: Path, authority: Path, resolver: str, *, lifetime: int, nonce_reject: int
) -> Iterator[Pebble]:
    """Run pebble within the block.

    :param authority: where ``ca.pem`` and ``ca.key`` stand, for its own certificate.
    :param resolver: the IP of the DNS server that it looks challenges up with: one without a
        cache, as public CAs do.
    :param lifetime: of its certificates, in seconds.
    :param nonce_reject: percentage of good nonces that it refuses.
    """
    ports = _free_ports(2)
    ca_file = authority / "ca.pem"
    issued = Authority(ca_file, authority / "ca.key").issue([LOOPBACK])
    (directory / "pebble.pem").write_text(issued.chain)
    (directory / "pebble.key").write_text(issued.private_key)
    config = {
        "listenAddress": f"{LOOPBACK}:{ports[0]}",
        "managementListenAddress": f"{LOOPBACK}:{ports[1]}",
        "certificate": str(directory / "pebble.pem"),
        "privateKey": str(directory / "pebble.key"),
        "httpPort": 9,
        "tlsPort": 9,
        "domainBlocklist": [BLOCKED],
        "certificateValidityPeriod": lifetime,
    }
    (directory / "pebble.json").write_text(json.dumps({"pebble": config}))
    environment = {
        **os.environ,
        "PEBBLE_VA_NOSLEEP": "1",
        "PEBBLE_WFE_NONCEREJECT": str(nonce_reject),
        # Every order is proven anew.
        "PEBBLE_AUTHZREUSE": "0",
    }
    command = ["pebble", "-config", str(directory / "pebble.json"), "-dnsserver", f"{resolver}:53"]
    log = directory / "pebble.log"
    with log.open("wb") as output:
        process = subprocess.Popen(command, env=environment, stdout=output, stderr=output)
    try:
        url = f"https://{LOOPBACK}:{ports[1]}/roots/0"
        root = wait_for("pebble", lambda: _get(url, ca_file))
        yield Pebble(f"https://{LOOPBACK}:{ports[0]}/dir", ca_file, root, log)
    finally:
        process.terminate()
        process.wait()


def _free_ports(count: int) -> list[int]:
    sockets = [socket.create_server((LOOPBACK, 0)) for _ in range(count)]
    ports = [int(one.getsockname()[1]) for one in sockets]
    for one in sockets:
        one.close()
    return ports


def _get(url: str, ca_file: Path) -> str | None:
    try:
        answer = httpx.get(url, verify=ssl.create_default_context(cafile=ca_file))
    except httpx.TransportError:
        return None
    return answer.text
