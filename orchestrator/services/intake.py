"""What an operator may write for addresses: single ones, ranges and networks; and their names."""

import ipaddress
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sqlmodel import Session, col, select

from orchestrator.conditions import Type
from orchestrator.errors import Invalid
from orchestrator.models import Address, AddressState, Condition, Host
from orchestrator.services import addresses, validation

#: How many addresses one command may bring in.
MAX_ADDRESSES = 4096

_Ip = ipaddress.IPv4Address | ipaddress.IPv6Address


@dataclass(frozen=True)
class Arrival:
    """How far an address is on its way into the pool."""

    ip: str
    name: str
    host: str
    state: AddressState
    #: What it waits for, or why it is quarantined.
    reason: str

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "ip": self.ip,
            "name": self.name,
            "host": self.host,
            "state": str(self.state),
            "reason": self.reason,
        }

    @property
    def settled(self) -> bool:
        """Whether it is no longer on its way."""
        return self.state is not AddressState.NEW


def expand(texts: Sequence[str]) -> list[str]:
    """The addresses in IPs, ranges (``A-B``, ``198.51.100.21-28``) and networks, each once.

    Of IPv4 networks shorter than /31 the network's and the broadcast address are left out.

    :raises Invalid: when one is none of them, or they are more than ``MAX_ADDRESSES``.
    """
    found: dict[str, None] = {}
    for text in texts:
        for address in _addresses(text):
            found[validation.ip(str(address))] = None
            if len(found) > MAX_ADDRESSES:
                raise Invalid(f"these are more than {MAX_ADDRESSES} addresses", field="ip")
    return list(found)


def _addresses(text: str) -> Iterable[_Ip]:
    if "/" in text:
        return _network(text)
    first, dash, last = text.partition("-")
    start = _ip(first)
    return _range(start, _last(start, last)) if dash else [start]


def _ip(text: str) -> _Ip:
    return ipaddress.ip_address(validation.ip(text.strip()))


def _network(text: str) -> Iterable[_Ip]:
    try:
        network = ipaddress.ip_network(text)
    except ValueError as error:
        raise Invalid(f"ip: {error}", field="ip") from None
    _require_few(network.num_addresses)
    # Every address of an IPv6 network may be a host's, but Python leaves the first one out.
    return network.hosts() if network.version == 4 else iter(network)


def _last(start: _Ip, text: str) -> _Ip:
    separator = "." if start.version == 4 else ":"
    if separator in text:
        return _ip(text)
    return _ip(f"{str(start).rpartition(separator)[0]}{separator}{text.strip()}")


def _range(start: _Ip, end: _Ip) -> Iterator[_Ip]:
    if start.version != end.version or int(end) < int(start):
        raise Invalid(f"{start}-{end} is not a range of addresses", field="ip")
    _require_few(int(end) - int(start) + 1)
    return (type(start)(number) for number in range(int(start), int(end) + 1))


def _require_few(count: int) -> None:
    if count > MAX_ADDRESSES:
        raise Invalid(f"these are more than {MAX_ADDRESSES} addresses", field="ip")


def name_of(ip: str, template: str) -> str:
    """The name of an address: ``{ip}`` in the template becomes the IP with dashes."""
    # A label neither begins nor ends with a dash.
    compact = ip if not (ip.startswith(":") or ip.endswith(":")) else _ip(ip).exploded
    dashed = compact.replace(".", "-").replace(":", "-")
    return validation.fqdn(template.replace("{ip}", dashed), field="ptr")


def default_name(ip: str, fleet_domain: str) -> str:
    """The name that the fleet gives to an address."""
    return name_of(ip, f"ip-{{ip}}.{fleet_domain}")


def names(ips: Sequence[str], template: str) -> dict[str, str]:
    """The name of each address by a template.

    :raises Invalid: when two of them would have one name.
    """
    if len(ips) > 1 and "{ip}" not in template:
        raise Invalid("ptr: several addresses need {ip} in their name", field="ptr")
    return {ip: name_of(ip, template) for ip in ips}


def add(session: Session, host: Host, named: dict[str, str]) -> list[Address]:
    """Bring in all of the addresses with their names, or none.

    :raises Conflict: when an IP or a name is in use; the caller's transaction must be undone.
    """
    return [addresses.add(session, host=host, ip=ip, ptr_name=name) for ip, name in named.items()]


def arrivals(session: Session, ips: Sequence[str]) -> list[Arrival]:
    """How far the addresses are, in the order of their numbers."""
    rows = session.exec(
        select(Address, Host.name, Condition.message)
        .join(Host, col(Host.id) == col(Address.host_id))
        .join(
            Condition,
            (col(Condition.subject_id) == col(Address.id))
            & (col(Condition.type) == Type.PTR_CONFIRMED),
            isouter=True,
        )
        .where(col(Address.ip).in_(ips))
    ).all()
    found = [
        Arrival(row.ip, row.ptr_name, host, row.state, _reason(row, message))
        for row, host, message in rows
    ]
    return sorted(found, key=lambda arrival: (":" in arrival.ip, int(_ip(arrival.ip))))


def _reason(address: Address, ptr: str | None) -> str:
    match address.state:
        case AddressState.QUARANTINED:
            return address.quarantine_reason
        case AddressState.NEW:
            return ptr or "nobody has looked yet: does a reconciler run?"
        case _:
            return ""
