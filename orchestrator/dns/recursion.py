"""Questions to one server, and to the recursive resolvers in turn."""

from collections.abc import Sequence

import dns.exception
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype

from orchestrator.dns.answers import (
    Answer,
    absent,
    failed,
    follow,
    found,
    name_text,
    refusal,
    text_of,
)
from orchestrator.dns.transport import EXCHANGE_ERRORS, Deadline, Exchange, question


def ask(
    exchange: Exchange,
    server: str,
    name: dns.name.Name,
    rdtype: dns.rdatatype.RdataType,
    timeout: float,
    *,
    authoritative: bool,
) -> tuple[dns.message.Message | None, str]:
    """A response that can be believed, or ``None`` and why there is none. Seconds in total."""
    if timeout <= 0:
        return None, "no time was left to ask"
    query = question(name, rdtype, recursive=not authoritative)
    try:
        response = exchange(query, server, timeout)
    except EXCHANGE_ERRORS as error:
        return None, words(error)
    problem = refusal(response, authoritative=authoritative)
    return (None, problem) if problem else (response, "")


class Recursion:
    """The recursive resolvers; the next is asked when one gives no usable response."""

    def __init__(self, nameservers: Sequence[str], exchange: Exchange) -> None:
        self._nameservers = tuple(nameservers)
        self._exchange = exchange

    def response(
        self, name: dns.name.Name, rdtype: dns.rdatatype.RdataType, deadline: Deadline
    ) -> tuple[dns.message.Message | None, str]:
        """The first usable response, or ``None`` and what each resolver said."""
        problems = []
        for index, server in enumerate(self._nameservers):
            share = deadline.share(len(self._nameservers) - index)
            response, problem = ask(
                self._exchange, server, name, rdtype, share, authoritative=False
            )
            if response is not None:
                return response, ""
            problems.append(f"resolver {server}: {problem}")
        return None, f"{name_text(name)} {rdtype.name}: {'; '.join(problems)}"

    def answer(
        self, name: dns.name.Name, rdtype: dns.rdatatype.RdataType, deadline: Deadline
    ) -> Answer:
        """The records of a name, its aliases followed. Raises ``AliasLoopError``."""
        response, detail = self.response(name, rdtype, deadline)
        if response is None:
            return failed(detail)
        _, rrset = follow(response, name, rdtype)
        if rrset is None:
            return absent(f"{name_text(name)}: {denial(response)}")
        return found(map(text_of, rrset))


def denial(response: dns.message.Message) -> str:
    """Which of the two denials an empty response is, in words."""
    exists = response.rcode() != dns.rcode.NXDOMAIN
    return "no record of that type" if exists else "the name doesn't exist"


def words(error: Exception) -> str:
    """A DNS or socket error, for people."""
    if isinstance(error, dns.exception.Timeout | TimeoutError):
        return "no answer in time"
    return str(error) or type(error).__name__
