"""A small DNS server on loopback: authoritative for its zones and, to us, recursive as well."""

import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.rrset

from orchestrator.dns.resolver import Resolver

LOOPBACK = "127.0.0.1"
SOA = "ns1.{zone} root.{zone} 1 1 1 1 1"


class NameServer:
    """Answers from ``records`` (name and type to values); names in ``broken`` get SERVFAIL."""

    def __init__(self, zones: Sequence[str]) -> None:
        self.records: dict[tuple[str, str], list[str]] = {}
        self.broken: set[str] = set()
        self.asked: list[tuple[str, str]] = []
        for zone in zones:
            self.set(zone, "NS", f"ns1.{zone}.")
            self.set(zone, "SOA", SOA.format(zone=f"{zone}."))
            self.set(f"ns1.{zone}", "A", LOOPBACK)
        self._zones = [dns.name.from_text(zone) for zone in zones]
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind((LOOPBACK, 0))
        self.port: int = self._socket.getsockname()[1]
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def set(self, name: str, kind: str, *values: str) -> None:
        """Make the records of a name and type be these; none removes them."""
        self.records[name.lower(), kind] = list(values)

    def list_ip(self, reverse: str, zone: str, reason: str = "seen spamming") -> None:
        """Let a blocklist list an address, given by its octets or nibbles backwards."""
        self.set(f"{reverse}.{zone}", "A", "127.0.0.2")
        self.set(f"{reverse}.{zone}", "TXT", f'"{reason}"')

    def delist_ip(self, reverse: str, zone: str) -> None:
        """Let it list the address no more."""
        self.set(f"{reverse}.{zone}", "A")
        self.set(f"{reverse}.{zone}", "TXT")

    def resolver(self) -> Resolver:
        """What asks this server, and nobody else."""
        return Resolver([LOOPBACK], 2.0, port=self.port)

    def close(self) -> None:
        """End, having answered what was asked."""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stop:
            stop.sendto(b"", (LOOPBACK, self.port))
        self._thread.join()
        self._socket.close()

    def _serve(self) -> None:
        while True:
            wire, peer = self._socket.recvfrom(65535)
            if not wire:
                return
            self._socket.sendto(self._answer(dns.message.from_wire(wire)).to_wire(), peer)

    def _answer(self, query: dns.message.Message) -> dns.message.Message:
        (question,) = query.question
        name = question.name.to_text(omit_final_dot=True).lower()
        kind = dns.rdatatype.to_text(question.rdtype)
        self.asked.append((name, kind))
        response = dns.message.make_response(query)
        response.flags |= dns.flags.AA | dns.flags.RA
        values = self.records.get((name, kind), [])
        if any(name == broken or name.endswith(f".{broken}") for broken in self.broken):
            response.set_rcode(dns.rcode.SERVFAIL)
        elif values:
            owner = question.name.to_text()
            response.answer.append(dns.rrset.from_text(owner, 1, "IN", kind, *values))
        else:
            if not any(known and known_name == name for (known_name, _), known in self._known()):
                response.set_rcode(dns.rcode.NXDOMAIN)
            zone = next((z for z in self._zones if question.name.is_subdomain(z)), None)
            if zone is not None:
                text = SOA.format(zone=zone.to_text())
                soa = dns.rrset.from_text(zone.to_text(), 1, "IN", "SOA", text)
                response.authority.append(soa)
        return response

    def _known(self) -> list[tuple[tuple[str, str], list[str]]]:
        return list(self.records.items())


@contextmanager
def serving(*zones: str) -> Iterator[NameServer]:
    """A server of these zones for the block."""
    server = NameServer(zones)
    try:
        yield server
    finally:
        server.close()
