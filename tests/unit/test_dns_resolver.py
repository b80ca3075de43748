"""The resolver before servers that fail in every way. Real sockets, scripted replies: what a
sound server answers is tested on the lab's Knot and Unbound (tests/hosts/test_dns_lab.py)."""

import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rrset
import pytest

from orchestrator.dns.answers import AnswerStatus
from orchestrator.dns.resolver import Resolver
from orchestrator.errors import ConfigurationError

Reply = bytes | None
Script = Callable[[dns.message.Message, str], Reply]

RECURSIVE, FIRST, SECOND = "127.0.0.1", "127.0.0.2", "127.0.0.3"
ZONE = {
    ("acme.com.", "NS"): ["NS1.acme.com.", "ns2.acme.com."],
    ("ns1.acme.com.", "A"): [FIRST],
    ("ns2.acme.com.", "A"): [SECOND],
}


def reply(query: dns.message.Message, *answers: str, rcode: int = 0, flags: int = 0) -> bytes:
    """A response whose answer section holds lines such as ``acme.com. 60 IN A 192.0.2.1``."""
    response = dns.message.make_response(query)
    response.set_rcode(dns.rcode.Rcode(rcode))
    response.flags |= dns.flags.Flag(flags)
    for line in answers:
        name, ttl, klass, kind, value = line.split(" ", 4)
        response.answer.append(dns.rrset.from_text(name, int(ttl), klass, kind, value))
    return response.to_wire()


def authoritative(query: dns.message.Message, *answers: str, rcode: int = 0) -> bytes:
    return reply(query, *answers, rcode=rcode, flags=dns.flags.AA)


def recursive(query: dns.message.Message, _: str) -> Reply:
    """What a recursive resolver says about the delegation of acme.com."""
    (asked,) = query.question
    kind = dns.rdatatype.to_text(asked.rdtype)
    values = ZONE.get((asked.name.to_text().lower(), kind), [])
    response = dns.message.make_response(query)
    response.flags |= dns.flags.RA
    if values:
        owner = asked.name.to_text()
        response.answer.append(dns.rrset.from_text(owner, 60, "IN", kind, *values))
    else:
        soa = "ns1.acme.com. root.acme.com. 1 1 1 1 1"
        response.authority.append(dns.rrset.from_text("acme.com.", 60, "IN", "SOA", soa))
    return response.to_wire()


class Servers:
    """One port on several loopback addresses, each with a script, over UDP and TCP."""

    def __init__(self) -> None:
        self.scripts: dict[str, Script] = {}
        self.asked: list[tuple[str, str]] = []
        self._sockets: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._closing = False
        self.port = 0
        for sockets in self._bound():
            for sock, run in zip(sockets, (self._udp, self._tcp), strict=True):
                sock.settimeout(0.05)
                thread = threading.Thread(target=run, args=(sock, sock.getsockname()[0]))
                thread.start()
                self._sockets.append(sock)
                self._threads.append(thread)

    def _bound(self) -> list[tuple[socket.socket, socket.socket]]:
        """A UDP and a TCP socket per address, all on one port that happens to be free."""
        for _ in range(20):
            opened: list[socket.socket] = []
            port = 0
            try:
                for address in (RECURSIVE, FIRST, SECOND):
                    opened.append(socket.create_server((address, port)))
                    port = opened[-1].getsockname()[1]
                    opened.append(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
                    opened[-1].bind((address, port))
            except OSError:
                for sock in opened:
                    sock.close()
                continue
            self.port = port
            return list(zip(opened[1::2], opened[::2], strict=True))
        raise AssertionError("no port is free on three loopback addresses")

    def close(self) -> None:
        self._closing = True
        for thread in self._threads:
            thread.join()
        for sock in self._sockets:
            sock.close()

    def _answer(self, wire: bytes, address: str, transport: str) -> Reply:
        self.asked.append((address, transport))
        script = self.scripts.get(address)
        return script(dns.message.from_wire(wire), transport) if script else None

    def _udp(self, sock: socket.socket, address: str) -> None:
        while not self._closing:
            try:
                wire, peer = sock.recvfrom(65535)
            except TimeoutError:
                continue
            answer = self._answer(wire, address, "udp")
            if answer is not None:
                sock.sendto(answer, peer)

    def _tcp(self, sock: socket.socket, address: str) -> None:
        while not self._closing:
            try:
                connection, _ = sock.accept()
            except TimeoutError:
                continue
            with connection:
                (length,) = struct.unpack("!H", connection.recv(2))
                answer = self._answer(connection.recv(length), address, "tcp")
                if answer is not None:
                    connection.sendall(struct.pack("!H", len(answer)) + answer)


@pytest.fixture
def servers() -> Iterator[Servers]:
    running = Servers()
    running.scripts[RECURSIVE] = recursive
    yield running
    running.close()


@pytest.fixture
def resolver(servers: Servers) -> Resolver:
    return Resolver([RECURSIVE], 1.0, port=servers.port)


def says(*answers: str, rcode: int = 0) -> Script:
    return lambda query, _: authoritative(query, *answers, rcode=rcode)


MX = "acme.com. 60 IN MX 10 Mx1.Fleetlab.net."


def test_both_servers_agree(servers: Servers, resolver: Resolver) -> None:
    servers.scripts |= {FIRST: says(MX), SECOND: says(MX)}
    answer = resolver.authoritative("ACME.com", "MX")
    assert (answer.status, answer.values) == (AnswerStatus.FOUND, ("10 mx1.fleetlab.net",))


def test_strings_of_a_txt_are_joined(servers: Servers, resolver: Resolver) -> None:
    script = says('acme.com. 60 IN TXT "v=spf1 ip4:192.0.2.1" " -all"')
    servers.scripts |= {FIRST: script, SECOND: script}
    assert resolver.authoritative("acme.com", "TXT").values == ("v=spf1 ip4:192.0.2.1 -all",)


@pytest.mark.parametrize("rcode", [dns.rcode.NXDOMAIN, dns.rcode.NOERROR])
def test_denials_are_absent(servers: Servers, resolver: Resolver, rcode: int) -> None:
    # NXDOMAIN from one and NODATA from the other agree: nothing is there.
    servers.scripts |= {FIRST: says(rcode=rcode), SECOND: says()}
    assert resolver.authoritative("x.acme.com", "TXT").status is AnswerStatus.ABSENT


def test_servers_that_disagree_tell_nothing(servers: Servers, resolver: Resolver) -> None:
    servers.scripts |= {FIRST: says(MX), SECOND: says()}
    answer = resolver.authoritative("acme.com", "MX")
    assert answer.status is AnswerStatus.FAILED
    assert "disagree" in answer.detail and FIRST in answer.detail and SECOND in answer.detail


def malformed(query: dns.message.Message, _: str) -> Reply:
    return query.to_wire()[:2] + b"\xff" * 30


def lame(query: dns.message.Message, _: str) -> Reply:
    return reply(query, MX)


BROKEN: dict[str, Script] = {
    "silent": lambda query, _: None,
    "servfail": says(rcode=dns.rcode.SERVFAIL),
    "refused": says(rcode=dns.rcode.REFUSED),
    "notimp": says(rcode=dns.rcode.NOTIMP),
    "lame": lame,
    "malformed": malformed,
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_server_is_passed_over(servers: Servers, resolver: Resolver, kind: str) -> None:
    servers.scripts |= {FIRST: BROKEN[kind], SECOND: says(MX)}
    assert resolver.authoritative("acme.com", "MX").status is AnswerStatus.FOUND


@pytest.mark.parametrize("kind", BROKEN)
def test_broken_servers_alone_are_a_failure_in_bounded_time(
    servers: Servers, resolver: Resolver, kind: str
) -> None:
    servers.scripts |= {FIRST: BROKEN[kind], SECOND: BROKEN[kind]}
    before = time.monotonic()
    answer = resolver.authoritative("acme.com", "MX")
    assert answer.status is AnswerStatus.FAILED
    assert FIRST in answer.detail and SECOND in answer.detail
    assert time.monotonic() - before < 1.5


@pytest.mark.parametrize("kind", ["silent", "servfail", "refused", "malformed"])
def test_a_broken_recursive_resolver_is_a_failure(
    servers: Servers, resolver: Resolver, kind: str
) -> None:
    servers.scripts |= {RECURSIVE: BROKEN[kind]}
    for ask in (resolver.lookup, resolver.authoritative):
        answer = ask("acme.com", "MX")
        assert answer.status is AnswerStatus.FAILED
        assert RECURSIVE in answer.detail


def test_a_referral_is_no_denial(servers: Servers, resolver: Resolver) -> None:
    def refers(query: dns.message.Message, _: str) -> Reply:
        response = dns.message.make_response(query)
        response.authority.append(dns.rrset.from_text("com.", 60, "IN", "NS", "ns.com."))
        return response.to_wire()

    servers.scripts |= {RECURSIVE: refers}
    assert resolver.lookup("acme.com", "MX").status is AnswerStatus.FAILED


def test_the_second_recursive_resolver_helps(servers: Servers) -> None:
    servers.scripts |= {FIRST: recursive}
    servers.scripts.pop(RECURSIVE)
    resolver = Resolver([RECURSIVE, FIRST], 1.0, port=servers.port)
    assert resolver.lookup("ns1.acme.com", "A").values == (FIRST,)


def test_a_lost_datagram_is_asked_again(servers: Servers, resolver: Resolver) -> None:
    seen: list[str] = []

    def forgetful(query: dns.message.Message, _: str) -> Reply:
        seen.append("asked")
        return authoritative(query, MX) if len(seen) > 1 else None

    servers.scripts |= {FIRST: forgetful, SECOND: says(MX)}
    assert resolver.authoritative("acme.com", "MX").status is AnswerStatus.FOUND
    assert len(seen) == 2


def test_a_truncated_answer_is_fetched_by_tcp(servers: Servers, resolver: Resolver) -> None:
    def big(query: dns.message.Message, transport: str) -> Reply:
        if transport == "tcp":
            return authoritative(query, MX)
        return reply(query, flags=dns.flags.TC | dns.flags.AA)

    servers.scripts |= {FIRST: big, SECOND: big}
    assert resolver.authoritative("acme.com", "MX").values == ("10 mx1.fleetlab.net",)
    assert (FIRST, "tcp") in servers.asked


def test_the_question_asks_no_recursion_of_authoritative_servers(
    servers: Servers, resolver: Resolver
) -> None:
    queries: list[dns.message.Message] = []

    def keeps(query: dns.message.Message, _: str) -> Reply:
        queries.append(query)
        return authoritative(query, MX)

    servers.scripts |= {FIRST: keeps, SECOND: keeps}
    resolver.authoritative("acme.com", "MX")
    assert not queries[0].flags & dns.flags.RD
    assert queries[0].edns == 0


def test_aliases_are_followed_within_and_across_answers(
    servers: Servers, resolver: Resolver
) -> None:
    def chain(query: dns.message.Message, _: str) -> Reply:
        if query.question[0].name == dns.name.from_text("k.acme.com"):
            return authoritative(query, "k.acme.com. 60 IN CNAME l.acme.com.")
        return authoritative(
            query, "l.acme.com. 60 IN CNAME m.acme.com.", 'm.acme.com. 60 IN TXT "v=DKIM1; p=QQ=="'
        )

    servers.scripts |= {FIRST: chain, SECOND: chain}
    assert resolver.authoritative("k.acme.com", "TXT").values == ("v=DKIM1; p=QQ==",)


@pytest.mark.parametrize("other", ["b.acme.com.", "a.acme.com."])
def test_alias_loops_end(servers: Servers, resolver: Resolver, other: str) -> None:
    def loop(query: dns.message.Message, _: str) -> Reply:
        name = query.question[0].name.to_text()
        target = other if name == "a.acme.com." else "a.acme.com."
        return authoritative(query, f"{name} 60 IN CNAME {target}")

    servers.scripts |= {FIRST: loop, SECOND: loop}
    answer = resolver.authoritative("a.acme.com", "TXT")
    assert answer.status is AnswerStatus.FAILED
    assert "aliases" in answer.detail


def test_delegations_are_remembered_until_cleared(servers: Servers, resolver: Resolver) -> None:
    servers.scripts |= {FIRST: says(MX), SECOND: says(MX)}
    resolver.authoritative("acme.com", "MX")
    first = servers.asked.count((RECURSIVE, "udp"))
    resolver.authoritative("acme.com", "MX")
    assert servers.asked.count((RECURSIVE, "udp")) == first
    resolver.clear()
    resolver.authoritative("acme.com", "MX")
    assert servers.asked.count((RECURSIVE, "udp")) == 2 * first


def test_addresses_that_are_not_permitted_are_not_asked(servers: Servers) -> None:
    servers.scripts |= {FIRST: says(MX), SECOND: says(MX)}
    resolver = Resolver(
        [RECURSIVE], 1.0, port=servers.port, permitted=lambda ip: not ip.startswith("127.")
    )
    answer = resolver.authoritative("acme.com", "MX")
    assert answer.status is AnswerStatus.FAILED
    assert "may not be asked" in answer.detail
    assert {address for address, _ in servers.asked} == {RECURSIVE}


def test_an_unregistered_name_is_absent_without_asking_its_tld(
    servers: Servers, resolver: Resolver
) -> None:
    def unregistered(query: dns.message.Message, _: str) -> Reply:
        response = dns.message.make_response(query)
        response.flags |= dns.flags.RA
        response.set_rcode(dns.rcode.NXDOMAIN)
        soa = "a.gtld.net. root.gtld.net. 1 1 1 1 1"
        response.authority.append(dns.rrset.from_text("com.", 60, "IN", "SOA", soa))
        return response.to_wire()

    servers.scripts |= {RECURSIVE: unregistered}
    assert resolver.authoritative("acme.com", "MX").status is AnswerStatus.ABSENT
    assert len(servers.asked) == 1


@pytest.mark.parametrize("name", ["a..b", "x" * 64 + ".com", "y." * 150])
def test_names_that_are_none_are_a_failure(resolver: Resolver, name: str) -> None:
    assert resolver.lookup(name, "TXT").status is AnswerStatus.FAILED
    assert resolver.authoritative(name, "TXT").status is AnswerStatus.FAILED


def test_many_threads_may_ask(servers: Servers) -> None:
    resolver = Resolver([RECURSIVE], 20.0, port=servers.port)
    servers.scripts |= {FIRST: says(MX), SECOND: says(MX)}
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda _: resolver.authoritative("acme.com", "MX"), range(64)))
    assert {answer.status for answer in answers} == {AnswerStatus.FOUND}


@pytest.mark.parametrize("nameservers", [[], ["ns1.acme.com"], [""]])
def test_resolvers_are_addresses(nameservers: list[str]) -> None:
    with pytest.raises(ConfigurationError):
        Resolver(nameservers, 1.0)
