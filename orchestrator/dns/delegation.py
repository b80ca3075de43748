"""Finds the servers that are authoritative for a name, and remembers them for a minute."""

import threading
import time
from collections.abc import Callable, Sequence

import dns.message
import dns.name
import dns.rcode
import dns.rdatatype

from orchestrator.dns.answers import Answer, AnswerStatus, absent, failed, name_text
from orchestrator.dns.recursion import Recursion, denial
from orchestrator.dns.transport import Deadline

#: How long the servers of a name are remembered, in seconds.
_REMEMBERED = 60.0
#: How many names are remembered before the old ones are thrown out.
_CAPACITY = 50_000
#: More servers of one zone than this aren't asked: a hostile zone could list thousands.
_MAX_SERVERS = 8

Servers = tuple[str, ...]


class Delegations:
    """The authoritative servers of names, found through ``recursion``. Thread-safe.

    ``permitted`` tells which server addresses may be asked.
    """

    def __init__(self, recursion: Recursion, permitted: Callable[[str], bool]) -> None:
        self._recursion = recursion
        self._permitted = permitted
        self._lock = threading.Lock()
        self._known: dict[dns.name.Name, tuple[float, Servers]] = {}

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            self._known.clear()

    def servers_of(self, name: dns.name.Name, deadline: Deadline) -> Servers | Answer:
        """Addresses of the servers of the closest enclosing zone.

        An ``Answer`` instead tells that the name can't exist, or that nobody could say.
        Raises ``AliasLoopError``.
        """
        now = time.monotonic()
        with self._lock:
            known = self._known.get(name)
        if known is not None and known[0] > now:
            return known[1]
        servers = self._discover(name, deadline)
        if not isinstance(servers, Answer):
            with self._lock:
                if len(self._known) >= _CAPACITY:
                    self._known = {n: k for n, k in self._known.items() if k[0] > now}
                self._known[name] = (now + _REMEMBERED, servers)
        return servers

    def _discover(self, name: dns.name.Name, deadline: Deadline) -> Servers | Answer:
        response, detail = self._recursion.response(name, dns.rdatatype.NS, deadline)
        if response is None:
            return failed(detail)
        for rrset in response.answer:
            if rrset.rdtype == dns.rdatatype.NS and rrset.name == name:
                return self._addresses([rdata.target for rdata in rrset], deadline)
        zone = _enclosing_zone(response, name)
        if len(zone.labels) <= 2:
            # Only the root or a top-level domain is above: the name isn't registered. Those
            # servers have nothing to add to the resolver's denial.
            detail = f"{name_text(name)}: no zone holds it ({denial(response)})"
            denied = response.rcode() == dns.rcode.NXDOMAIN
            return absent(detail) if denied else failed(detail)
        return self.servers_of(zone, deadline)

    def _addresses(self, hosts: Sequence[dns.name.Name], deadline: Deadline) -> Servers | Answer:
        addresses: list[str] = []
        problems = []
        chosen = sorted(hosts)[:_MAX_SERVERS]
        for index, host in enumerate(chosen):
            # One server whose name doesn't resolve must not use up the others' time.
            budget = Deadline(deadline.share(len(chosen) - index))
            for rdtype in (dns.rdatatype.A, dns.rdatatype.AAAA):
                answer = self._recursion.answer(host, rdtype, budget)
                refused = [ip for ip in answer.values if not self._permitted(ip)]
                addresses += [ip for ip in answer.values if ip not in refused]
                problems += [f"{host}: {ip} may not be asked" for ip in refused]
                if answer.status is not AnswerStatus.FOUND:
                    problems.append(answer.detail)
        if not addresses:
            return failed(f"no name server has a usable address: {'; '.join(problems)}")
        return tuple(dict.fromkeys(addresses))[:_MAX_SERVERS]


def _enclosing_zone(response: dns.message.Message, name: dns.name.Name) -> dns.name.Name:
    """The zone that a denial of ``name NS`` comes from: the owner of its SOA (RFC 2308).

    Without one (the name is an alias, so the SOA is another zone's), the parent is tried.
    """
    for rrset in response.authority:
        is_soa = rrset.rdtype == dns.rdatatype.SOA
        if is_soa and rrset.name != name and name.is_subdomain(rrset.name):
            return rrset.name
    return name.parent() if name != dns.name.root else name
