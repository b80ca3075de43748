"""Asks DNS: the recursive resolver, or the authoritative servers of a name directly.

Verification asks the authoritative servers, because a resolver may hold an old answer, or an
old denial, for as long as its TTL. Every answer is one of found, absent and failed; only a
server that can be believed makes an answer found or absent.
"""

import ipaddress
import threading
import time
from collections.abc import Callable, Sequence

import dns.exception
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype

from orchestrator.dns.answers import (
    MAX_ALIASES,
    Answer,
    AnswerStatus,
    absent,
    failed,
    follow,
    found,
    name_text,
    refusal,
    text_of,
)
from orchestrator.dns.transport import (
    EXCHANGE_ERRORS,
    Deadline,
    Exchange,
    exchange_on,
    question,
)
from orchestrator.errors import ConfigurationError

#: How long the servers of a zone are remembered, in seconds.
_SERVERS_TTL = 60.0
#: More servers of one zone than this aren't asked: a hostile zone could list thousands.
_MAX_SERVERS = 8

_SERVFAIL_DETAIL = "no name server could be asked"


class Resolver:
    """Asks through the recursive servers at ``nameservers`` (IP addresses). Thread-safe.

    ``timeout`` bounds a whole ``lookup`` or ``authoritative`` call, in seconds. ``permitted``
    tells which addresses of authoritative servers may be asked: a tenant chooses those of its
    domain, and may point them at somebody's inner network. ``port`` and ``exchange`` are there
    for tests. Raises ``ConfigurationError`` for nameservers that aren't IP addresses.
    """

    def __init__(
        self,
        nameservers: Sequence[str],
        timeout: float = 5.0,
        *,
        permitted: Callable[[str], bool] = lambda ip: True,
        port: int = 53,
        exchange: Exchange | None = None,
    ) -> None:
        for server in nameservers:
            try:
                ipaddress.ip_address(server)
            except ValueError as error:
                raise ConfigurationError(f"resolver {server!r} is not an IP address") from error
        if not nameservers:
            raise ConfigurationError("no resolver is configured")
        self._nameservers = tuple(nameservers)
        self._timeout = timeout
        self._permitted = permitted
        self._exchange = exchange or exchange_on(port)
        self._lock = threading.Lock()
        self._servers: dict[dns.name.Name, tuple[float, tuple[str, ...]]] = {}

    def clear(self) -> None:
        """Forget which servers are authoritative for what."""
        with self._lock:
            self._servers.clear()

    def lookup(self, name: str, rdtype: str) -> Answer:
        """What the recursive resolver answers. Never raises for what DNS does."""
        try:
            return self._recursive(*_parsed(name, rdtype), Deadline(self._timeout))
        except dns.exception.DNSException as error:
            return failed(f"{name}: {_words(error)}")

    def authoritative(self, name: str, rdtype: str) -> Answer:
        """What the authoritative servers answer, aliases followed (RFC 1034 section 3.6.2).

        Servers that time out, refuse or are lame are passed over as resolvers do. When those
        that answer disagree, the answer is failed: the record is on its way, so neither "it is
        there" nor "it isn't" holds for everybody. Never raises for what DNS does.
        """
        try:
            owner, kind = _parsed(name, rdtype)
            deadline = Deadline(self._timeout)
            for _ in range(MAX_ALIASES):
                answer, alias = self._ask_servers(owner, kind, deadline)
                if alias is None:
                    return answer
                owner = alias
        except dns.exception.DNSException as error:
            return failed(f"{name}: {_words(error)}")
        return failed(f"{name}: more than {MAX_ALIASES} aliases")

    def _recursive(
        self, name: dns.name.Name, rdtype: dns.rdatatype.RdataType, deadline: Deadline
    ) -> Answer:
        response, detail = self._recursive_response(name, rdtype, deadline)
        if response is None:
            return failed(detail)
        _, rrset = follow(response, name, rdtype)
        if rrset is None:
            return absent(f"{name_text(name)}: {_denial(response)}")
        return found(map(text_of, rrset))

    def _recursive_response(
        self, name: dns.name.Name, rdtype: dns.rdatatype.RdataType, deadline: Deadline
    ) -> tuple[dns.message.Message | None, str]:
        problems = []
        for index, server in enumerate(self._nameservers):
            share = deadline.share(len(self._nameservers) - index)
            response, problem = self._ask(server, name, rdtype, share, authoritative=False)
            if response is not None:
                return response, ""
            problems.append(f"resolver {server}: {problem}")
        return None, f"{name_text(name)} {rdtype.name}: {'; '.join(problems)}"

    def _ask(
        self,
        server: str,
        name: dns.name.Name,
        rdtype: dns.rdatatype.RdataType,
        timeout: float,
        *,
        authoritative: bool,
    ) -> tuple[dns.message.Message | None, str]:
        """A usable response, or ``None`` and why there is none."""
        if timeout <= 0:
            return None, "no time was left to ask"
        query = question(name, rdtype, recursive=not authoritative)
        try:
            response = self._exchange(query, server, timeout)
        except EXCHANGE_ERRORS as error:
            return None, _words(error)
        problem = refusal(response, authoritative=authoritative)
        return (None, problem) if problem else (response, "")

    def _ask_servers(
        self, name: dns.name.Name, rdtype: dns.rdatatype.RdataType, deadline: Deadline
    ) -> tuple[Answer, dns.name.Name | None]:
        """The agreed answer, or the alias that all servers lead to and that is to be asked."""
        servers = self._servers_of(name, deadline)
        if isinstance(servers, Answer):
            return servers, None
        results: dict[tuple[Answer, dns.name.Name | None], str] = {}
        problems = []
        for index, server in enumerate(servers):
            share = deadline.share(len(servers) - index)
            response, problem = self._ask(server, name, rdtype, share, authoritative=True)
            if response is None:
                problems.append(f"{server}: {problem}")
                continue
            last, rrset = follow(response, name, rdtype)
            if rrset is not None:
                results[found(map(text_of, rrset)), None] = server
            elif last != name:
                results[failed("alias"), last] = server
            else:
                results[absent(f"{name_text(name)}: {_denial(response)}"), None] = server
        return _agreed(name, results, problems)

    def _servers_of(self, name: dns.name.Name, deadline: Deadline) -> tuple[str, ...] | Answer:
        """Addresses of the servers of the closest enclosing zone, or the answer if none helps."""
        with self._lock:
            known = self._servers.get(name)
        if known is not None and known[0] > time.monotonic():
            return known[1]
        servers = self._discover(name, deadline)
        if not isinstance(servers, Answer):
            now = time.monotonic()
            with self._lock:
                if len(self._servers) > 10_000:
                    self._servers = {n: k for n, k in self._servers.items() if k[0] > now}
                self._servers[name] = (now + _SERVERS_TTL, servers)
        return servers

    def _discover(self, name: dns.name.Name, deadline: Deadline) -> tuple[str, ...] | Answer:
        response, detail = self._recursive_response(name, dns.rdatatype.NS, deadline)
        if response is None:
            return failed(detail)
        here = [
            rrset
            for rrset in response.answer
            if rrset.rdtype == dns.rdatatype.NS and rrset.name == name
        ]
        if here:
            return self._addresses([rdata.target for rdata in here[0]], deadline)
        zone = _enclosing_zone(response, name)
        if len(zone.labels) <= 2:
            # Only the root or a top-level domain is above: the name isn't registered. Its
            # servers have nothing to add to the resolver's denial.
            denied = response.rcode() == dns.rcode.NXDOMAIN
            detail = f"{name_text(name)}: no zone holds it ({_denial(response)})"
            return absent(detail) if denied else failed(detail)
        return self._servers_of(zone, deadline)

    def _addresses(
        self, hosts: Sequence[dns.name.Name], deadline: Deadline
    ) -> tuple[str, ...] | Answer:
        addresses: list[str] = []
        problems = []
        for host in sorted(hosts)[:_MAX_SERVERS]:
            for rdtype in (dns.rdatatype.A, dns.rdatatype.AAAA):
                answer = self._recursive(host, rdtype, deadline)
                addresses += [ip for ip in answer.values if self._permitted(ip)]
                if answer.status is not AnswerStatus.FOUND:
                    problems.append(answer.detail)
        if not addresses:
            return failed(f"name servers without a usable address: {'; '.join(problems)}")
        return tuple(dict.fromkeys(addresses))[:_MAX_SERVERS]


def _agreed(
    name: dns.name.Name,
    results: dict[tuple[Answer, dns.name.Name | None], str],
    problems: list[str],
) -> tuple[Answer, dns.name.Name | None]:
    if len(results) == 1:
        (result,) = results
        return result
    if not results:
        return failed(f"{name_text(name)}: {'; '.join(problems) or _SERVFAIL_DETAIL}"), None
    views = "; ".join(
        f"{server}: {', '.join(answer.values) or alias or 'nothing'}"
        for (answer, alias), server in results.items()
    )
    return failed(f"{name_text(name)}: the name servers disagree ({views})"), None


def _enclosing_zone(response: dns.message.Message, name: dns.name.Name) -> dns.name.Name:
    """The zone that a denial of ``name NS`` comes from: the owner of its SOA (RFC 2308).

    Without one (the name is an alias, so the SOA is another zone's), the parent is tried.
    """
    for rrset in response.authority:
        if (
            rrset.rdtype == dns.rdatatype.SOA
            and name != rrset.name
            and name.is_subdomain(rrset.name)
        ):
            return rrset.name
    return name.parent() if name != dns.name.root else name


def _denial(response: dns.message.Message) -> str:
    exists = response.rcode() != dns.rcode.NXDOMAIN
    return "no record of that type" if exists else "the name doesn't exist"


def _parsed(name: str, rdtype: str) -> tuple[dns.name.Name, dns.rdatatype.RdataType]:
    return dns.name.from_text(name), dns.rdatatype.from_text(rdtype)


def _words(error: Exception) -> str:
    if isinstance(error, dns.exception.Timeout | TimeoutError):
        return "no answer in time"
    return str(error) or type(error).__name__
