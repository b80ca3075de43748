"""The name servers: Knot is authoritative for a root of our own, Unbound resolves from it."""

import base64
import ipaddress
import json
import secrets
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from orchestrator.lab import containers
from orchestrator.lab.containers import File, Machine
from orchestrator.lab.errors import LabError
from orchestrator.lab.state import State
from orchestrator.lab.topology import Topology
from orchestrator.lab.zones import reverse_name, root_zone, zone_text

#: Zones that were added while the lab ran: ``{name: {"managed": bool, "served": bool}}``.
ADDED = "zones.json"
TSIG_FILE = "tsig.secret"
CUSTOMER_TSIG_FILE = "tsig-customer.secret"

_ZONES = "/var/lib/knot/zones"


@dataclass(frozen=True)
class Zone:
    """A zone of the lab. One that is not ``served`` is delegated all the same: it is lame."""

    name: str
    managed: bool
    served: bool = True


def machine(topology: Topology, state: State, image: str, dkim_public: str) -> Machine:
    """Return the description of the name servers' container."""
    dns, net = topology.dns, topology.network
    # The first address is Docker's, the resolver's is a second one on the same interface.
    extra = (topology.prefixed(dns.resolver), topology.prefixed(dns.resolver6))
    values = {
        "authoritative": str(dns.authoritative),
        "authoritative6": str(dns.authoritative6),
        "resolver": str(dns.resolver),
        "resolver6": str(dns.resolver6),
        "ipv4": str(net.ipv4),
        "ipv6": str(net.ipv6),
        "tsig_name": dns.tsig_name,
        "tsig_algorithm": dns.tsig_algorithm,
        "tsig_secret": _secret(state, TSIG_FILE),
        "customer_tsig_name": dns.customer_tsig_name,
        "customer_tsig_secret": _secret(state, CUSTOMER_TSIG_FILE),
        "nodefault": _nodefault((net.ipv4, net.ipv6)),
    }
    zones = [Zone(name, managed=True) for name in dns.managed]
    zones += [Zone(name, managed=False) for name in _not_ours(topology)]
    files = {
        "/etc/knot/knot.conf": File(containers.asset("knot.conf").format(**values)),
        "/etc/knot/zones.conf": File(zones_conf(zones)),
        "/etc/unbound/unbound.conf": File(containers.asset("unbound.conf").format(**values)),
        # Knot rewrites the zone files, so the directory and what is in it are its own.
        "/etc/tmpfiles.d/lab-zones.conf": File(f"Z {_ZONES} - knot knot -\n"),
        f"{_ZONES}/delegated": File(_delegated(zones)),
        f"{_ZONES}/root.zone": File(root_zone(topology, [z.name for z in zones], serial=1)),
    }
    for zone in zones:
        text = zone_text(topology, zone.name, serial=1, dkim_public=dkim_public)
        files[f"{_ZONES}/{zone.name}.zone"] = File(text)
    return Machine(
        name=topology.ns.name,
        image=image,
        hostname=f"{topology.ns.name}.{topology.fleet.domain}",
        address=dns.authoritative,
        address6=dns.authoritative6,
        extra=extra,
        mounts={"/etc/resolv.conf": str(state.path("resolv.conf"))},
        files=files,
    )


def zones_conf(zones: Iterable[Zone]) -> str:
    """Return Knot's list of zones: the root, and those that are served."""
    lines = ["zone:", '  - domain: "."', "    template: root"]
    for zone in zones:
        if zone.served:
            template = "managed" if zone.managed else "foreign"
            lines += [f'  - domain: "{zone.name}"', f"    template: {template}"]
    return "\n".join(lines) + "\n"


def all_zones(topology: Topology, state: State) -> list[Zone]:
    """Return the zones of the topology and those added since."""
    dns = topology.dns
    zones = {name: Zone(name, managed=True) for name in dns.managed}
    for name in _not_ours(topology):
        zones[name] = Zone(name, managed=False)
    for name, values in state.read_json(ADDED).items():
        zones[name] = Zone(name, managed=values["managed"], served=values["served"])
    return list(zones.values())


def add_zone(container: Any, topology: Topology, state: State, name: str, *, managed: bool) -> None:
    """Serve a zone: what a registrar does when a tenant delegates a domain to these servers.

    It begins with a SOA and an NS record. Adding it twice is harmless, and it outlives restarts.

    :param managed: whether the fleet's key may update it, otherwise the customer's.
    :raises LabError: when the name is not a domain name, or the server refuses.
    """
    _record(topology, state, name, {"managed": managed, "served": True})
    sync(container, topology, state)


def remove_zone(
    container: Any, topology: Topology, state: State, name: str, *, lame: bool = False
) -> None:
    """Stop serving a zone that was added, and forget its records.

    :param lame: keep the delegation, so that the name answers SERVFAIL rather than NXDOMAIN.
    :raises LabError: when it is one of the topology's own zones, or was never added.
    """
    added = state.read_json(ADDED)
    if name not in added:
        raise LabError(f"{name} is not a zone that was added: {', '.join(sorted(added)) or 'none'}")
    if lame:
        added[name]["served"] = False
    else:
        del added[name]
    state.write(ADDED, json.dumps(added, indent=2) + "\n")
    sync(container, topology, state)


def sync(container: Any, topology: Topology, state: State) -> None:
    """Make the running Knot serve exactly ``all_zones``; nothing happens where it does.

    :raises LabError: when Knot refuses.
    """
    zones = all_zones(topology, state)
    wanted = zones_conf(zones)
    names = [zone.name for zone in zones]
    delegated = _delegated(zones)
    current = containers.check(container, ["cat", "/etc/knot/zones.conf"])
    _, last = containers.run(container, ["cat", f"{_ZONES}/delegated"])
    if current == wanted and last == delegated:
        return
    files = {
        "/etc/knot/zones.conf": File(wanted),
        f"{_ZONES}/root.zone": File(root_zone(topology, names, serial=int(time.time()))),
    }
    for zone in zones:
        path = f"{_ZONES}/{zone.name}.zone"
        code, _ = containers.run(container, ["test", "-e", path])
        if zone.served and code != 0:
            files[path] = File(zone_text(topology, zone.name, serial=int(time.time())))
    gone = _configured(current) - _configured(wanted)
    containers.put(container, files)
    containers.check(container, ["systemd-tmpfiles", "--create", "lab-zones.conf"])
    containers.check(container, ["knotc", "reload"])
    containers.check(container, ["knotc", "-b", "zone-reload", "."])
    for name in gone:
        # With the journal: a zone that comes back under this name begins afresh.
        containers.run(container, ["knotc", "-f", "zone-purge", "--", name])
        containers.run(container, ["rm", "-f", f"{_ZONES}/{name}.zone"])
    # Written last: it says that everything above was done.
    containers.put(container, {f"{_ZONES}/delegated": File(delegated)})
    # An answer from before must not outlive the change; the caches are short, but not that short.
    containers.run(container, ["unbound-control", "reload"])


def wait_ready(topology: Topology, *, deadline: float) -> None:
    """Wait until the resolver answers from the authoritative server.

    :param deadline: on ``time.monotonic()``'s clock.
    :raises LabError: when it does not in time.
    """
    import dns.exception
    import dns.message
    import dns.query
    import dns.rcode

    query = dns.message.make_query(f"control.{topology.fleet.domain}", "A")
    while time.monotonic() < deadline:
        try:
            answer = dns.query.udp(query, str(topology.dns.resolver), timeout=1)
        except (dns.exception.DNSException, OSError):
            time.sleep(0.1)
            continue
        if answer.rcode() == dns.rcode.NOERROR and answer.answer:
            return
        time.sleep(0.1)
    raise LabError(
        f"the resolver {topology.dns.resolver} does not answer for {topology.fleet.domain}: "
        "look at its log with `lab exec ns1 -- journalctl -u unbound -u knot`"
    )


def _record(topology: Topology, state: State, name: str, values: dict[str, bool]) -> None:
    import dns.exception
    import dns.name

    try:
        valid = len(dns.name.from_text(name).labels) > 2 and name == name.lower().rstrip(".")
    except dns.exception.DNSException:
        valid = False
    if not valid or not all(c.isalnum() or c in "-._" for c in name) or not name.isascii():
        raise LabError(f"{name!r} is not a domain name: give it in lower case, like acme-mail.net")
    own = {*topology.dns.managed, *_not_ours(topology)}
    if name in own:
        raise LabError(f"{name} is one of the lab's own zones")
    state.merge_json(ADDED, {name: values})


def _not_ours(topology: Topology) -> tuple[str, ...]:
    """Zones that the fleet's key may not update."""
    return (*topology.dns.foreign, topology.dns.blocklist, topology.world.domain)


def _delegated(zones: Iterable[Zone]) -> str:
    return " ".join(sorted(zone.name for zone in zones)) + "\n"


def _configured(conf: str) -> set[str]:
    return {line.split('"')[1] for line in conf.splitlines() if "domain:" in line}


def _secret(state: State, name: str) -> str:
    make = lambda: base64.b64encode(secrets.token_bytes(32)).decode() + "\n"  # noqa: E731
    return state.once(name, make).strip()


def _nodefault(
    ranges: Iterable[ipaddress.IPv4Network | ipaddress.IPv6Network],
) -> str:
    """Return settings that keep Unbound from answering for these ranges or what holds them."""
    lines = []
    for net in ranges:
        labels = reverse_name(net).split(".")
        for i in range(len(labels) - 2):
            lines.append(f'    local-zone: "{".".join(labels[i:])}." nodefault')
    return "\n".join(lines)
