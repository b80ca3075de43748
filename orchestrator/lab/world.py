"""The rest of the internet: an independent mail server that checks SPF, DKIM and DMARC."""

import smtplib
import time
from collections.abc import Sequence

from orchestrator.lab import pki
from orchestrator.lab.containers import File, Machine, asset
from orchestrator.lab.errors import LabError
from orchestrator.lab.state import State
from orchestrator.lab.topology import Topology
from orchestrator.lab.zones import WORLD_SELECTOR

PASSWORD_FILE = "world.password"  # noqa: S105 - a file's name
HTTP_PORT = 8080

_CONFIG = {
    "/etc/postfix/main.cf": "world-main.cf",
    "/etc/postfix/master.cf": "world-master.cf",
    "/etc/postfix/strip.regexp": "world-strip.regexp",
    "/etc/dovecot/dovecot.conf": "world-dovecot.conf",
    "/etc/opendkim.conf": "world-opendkim.conf",
    "/etc/opendmarc.conf": "world-opendmarc.conf",
    "/etc/systemd/system/lab-hooks.service": "lab-hooks.service",
    "/etc/sysusers.d/lab-world.conf": "world-sysusers.conf",
    "/etc/tmpfiles.d/lab-world.conf": "world-tmpfiles.conf",
}


def hostname(topology: Topology) -> str:
    """Return its host name, which is also its EHLO name and its PTR."""
    return f"{topology.world.name}.{topology.world.domain}"


def machine(topology: Topology, state: State, image: str) -> Machine:
    """Return the description of its container; keys and password are made at first use."""
    world, net = topology.world, topology.network
    name = hostname(topology)
    certificate, key = pki.ensure_leaf(state, name, (world.address, world.address6))
    values = {
        "hostname": name,
        "domain": world.domain,
        "mailbox": world.mailbox,
        "selector": WORLD_SELECTOR,
        "ipv4": str(net.ipv4),
        "address": str(world.address),
        "address6": str(world.address6),
        "port": str(HTTP_PORT),
        "resolver": str(topology.dns.resolver),
    }
    files = {path: File(fill(asset(source), values)) for path, source in _CONFIG.items()}
    wants = "/etc/systemd/system/multi-user.target.wants/lab-hooks.service"
    files |= {
        "/usr/local/lib/lab-hooks.py": File(asset("lab_hooks.py")),
        wants: File("", link="/etc/systemd/system/lab-hooks.service"),
        "/etc/mailname": File(name + "\n"),
        "/etc/lab/ca.pem": File(pki.ensure_ca(state)),
        "/etc/lab/tls.pem": File(certificate),
        "/etc/lab/tls.key": File(key, 0o600),
        "/etc/lab/dkim.key": File(dkim_private(state), 0o600),
        # Plain on purpose: the lab's password is in lab.json as well.
        "/etc/dovecot/users": File(f"{world.mailbox}:{{PLAIN}}{state.password(PASSWORD_FILE)}\n"),
    }
    return Machine(
        name=world.name,
        image=image,
        hostname=name,
        address=world.address,
        address6=world.address6,
        mounts={"/etc/resolv.conf": str(state.path("resolv.conf"))},
        files=files,
    )


def dkim_private(state: State) -> str:
    """Return its DKIM key as PEM text, made at first use."""
    return state.once("world-dkim.key", pki.dkim_key)


def fill(text: str, values: dict[str, str]) -> str:
    """Put values in place of ``@name@``: braces and dollars mean something to the daemons."""
    for key, value in values.items():
        text = text.replace(f"@{key}@", value)
    return text


def wait_ready(topology: Topology, *, deadline: float, ports: Sequence[int] = (25, 587)) -> None:
    """Wait until it greets on SMTP under its own name.

    :param deadline: on ``time.monotonic()``'s clock.
    :raises LabError: when it does not in time.
    """
    address = str(topology.world.address)
    problem = "nothing was tried"
    while time.monotonic() < deadline:
        try:
            for port in ports:
                with smtplib.SMTP(timeout=5) as smtp:
                    _, banner = smtp.connect(address, port)
                if not banner.decode(errors="replace").startswith(hostname(topology)):
                    raise LabError(f"{address}:{port} greets as {banner!r}")
        except (OSError, smtplib.SMTPException) as error:
            problem = str(error)
            time.sleep(0.2)
        else:
            return
    raise LabError(f"the world's mail server {address} does not answer in time: {problem}")
