"""Asks DNS: the recursive resolver, or the authoritative servers of a name directly.

Verification asks the authoritative servers, because a resolver may hold an old answer, or an
old denial, for as long as its TTL. Every answer is one of found, absent and failed; only a
server that can be believed makes an answer found or absent.
"""

import ipaddress
from collections.abc import Callable, Sequence

import dns.exception
import dns.name
import dns.rdatatype
import dns.resolver

from orchestrator.dns.answers import (
    MAX_ALIASES,
    AliasLoopError,
    Answer,
    AnswerStatus,
    absent,
    failed,
    follow,
    found,
    name_text,
    text_of,
)
from orchestrator.dns.delegation import Delegations
from orchestrator.dns.recursion import Recursion, ask, denial, words
from orchestrator.dns.transport import Deadline, Exchange, exchange_on
from orchestrator.errors import ConfigurationError
from orchestrator.settings import Settings

__all__ = ["Answer", "AnswerStatus", "Resolver", "configured", "is_public", "system_nameservers"]

#: What one server said: its answer, or the name that its aliases lead to.
_View = tuple[Answer, dns.name.Name | None]

_ERRORS = (dns.exception.DNSException, AliasLoopError)


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
        self._timeout = timeout
        self._exchange = exchange or exchange_on(port)
        self._recursion = Recursion(nameservers, self._exchange)
        self._delegations = Delegations(self._recursion, permitted)

    def clear(self) -> None:
        """Forget which servers are authoritative for what (remembered for 60 s)."""
        self._delegations.clear()

    def lookup(self, name: str, rdtype: str) -> Answer:
        """What the recursive resolver answers. Never raises for what DNS does."""
        try:
            owner, kind = _parsed(name, rdtype)
            return self._recursion.answer(owner, kind, Deadline(self._timeout))
        except _ERRORS as error:
            return failed(f"{name}: {words(error)}")

    def authoritative(self, name: str, rdtype: str) -> Answer:
        """What the authoritative servers answer, aliases followed (RFC 1034 section 3.6.2).

        Servers that time out, refuse or are lame are passed over, as resolvers do. When those
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
        except _ERRORS as error:
            return failed(f"{name}: {words(error)}")
        return failed(f"{name}: more than {MAX_ALIASES} aliases")

    def _ask_servers(
        self, name: dns.name.Name, rdtype: dns.rdatatype.RdataType, deadline: Deadline
    ) -> _View:
        servers = self._delegations.servers_of(name, deadline)
        if isinstance(servers, Answer):
            return servers, None
        views: dict[_View, str] = {}
        problems = []
        for index, server in enumerate(servers):
            share = deadline.share(len(servers) - index)
            response, problem = ask(self._exchange, server, name, rdtype, share, authoritative=True)
            if response is None:
                problems.append(f"{server}: {problem}")
                continue
            last, rrset = follow(response, name, rdtype)
            if rrset is not None:
                views[found(map(text_of, rrset)), None] = server
            elif last != name:
                views[failed("an alias"), last] = server
            else:
                views[absent(f"{name_text(name)}: {denial(response)}"), None] = server
        return _agreed(name, views, problems)


def _agreed(name: dns.name.Name, views: dict[_View, str], problems: list[str]) -> _View:
    """The one view that all servers share, or a failure that tells theirs apart."""
    if len(views) == 1:
        return next(iter(views))
    if not views:
        return failed(f"{name_text(name)}: {'; '.join(problems)}"), None
    told = "; ".join(
        f"{server}: {', '.join(answer.values) or alias or 'nothing'}"
        for (answer, alias), server in views.items()
    )
    return failed(f"{name_text(name)}: the name servers disagree ({told})"), None


def _parsed(name: str, rdtype: str) -> tuple[dns.name.Name, dns.rdatatype.RdataType]:
    return dns.name.from_text(name), dns.rdatatype.from_text(rdtype)


def configured(settings: Settings) -> Resolver:
    """The resolver that the settings ask for.

    :raises ConfigurationError: when their nameservers aren't IP addresses.
    """
    return Resolver(
        settings.resolvers or system_nameservers(),
        settings.dns_timeout,
        permitted=lambda ip: settings.allow_private_targets or is_public(ip),
    )


def system_nameservers() -> list[str]:
    """The recursive servers of this machine, from its /etc/resolv.conf (resolv.conf(5))."""
    return [str(server) for server in dns.resolver.Resolver().nameservers]


def is_public(ip: str) -> bool:
    """Whether an address belongs to the internet, not to somebody's inner network."""
    return ipaddress.ip_address(ip).is_global
