"""DNS-01 challenges (RFC 8555 section 8.4): published, seen, and taken away again."""

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from orchestrator.conditions import Reason
from orchestrator.dns.publishing import DnsUpdateError, ZoneKey, publish
from orchestrator.dns.records import ExpectedRecord, Purpose
from orchestrator.dns.resolver import Resolver
from orchestrator.issuers.issued import IssuanceError

log = logging.getLogger(__name__)

LABEL = "_acme-challenge"
#: Seconds that a zone's servers get to show a record to the world.
PATIENCE = 60.0
PAUSE = 0.5
#: Of the records, in seconds: nobody shall remember them for long.
TTL = 10


class Challenges:
    """Publishes challenges in managed zones.

    :param zone_of: the zone that holds a name, with the key to update it; None if none is ours.
    :param timeout: of one exchange with a zone's server, in seconds.
    """

    def __init__(
        self, zone_of: Callable[[str], ZoneKey | None], resolver: Resolver, timeout: float
    ) -> None:
        self._zone_of = zone_of
        self._resolver = resolver
        self._timeout = timeout

    @contextmanager
    def published(self, values: Mapping[str, str]) -> Iterator[None]:
        """Within the block every authoritative server shows the challenges, by DNS name.

        :raises IssuanceError: ``CHALLENGE_NOT_PUBLISHED``.
        """
        placed = [(self._zone(name), _record(name, value)) for name, value in values.items()]
        try:
            for zone, record in placed:
                self._publish(zone, record)
            for _, record in placed:
                self._await(record)
            yield
        finally:
            for zone, record in placed:
                self._withdraw(zone, record)

    def _zone(self, name: str) -> ZoneKey:
        zone = self._zone_of(name)
        if zone is None:
            message = f"{name} stands in no zone that may be updated from here"
            raise IssuanceError(Reason.CHALLENGE_NOT_PUBLISHED, message)
        return zone

    def _publish(self, zone: ZoneKey, record: ExpectedRecord) -> None:
        try:
            publish(zone, [record], timeout=self._timeout, ttl=TTL)
        except DnsUpdateError as error:
            raise IssuanceError(Reason.CHALLENGE_NOT_PUBLISHED, str(error)) from None

    def _await(self, record: ExpectedRecord) -> None:
        deadline = time.monotonic() + PATIENCE
        while True:
            answer = self._resolver.authoritative(record.name, record.type)
            if record.value in answer.values:
                return
            if time.monotonic() > deadline:
                message = f"{record.name} is not seen on its name servers: {answer.detail}"
                raise IssuanceError(Reason.CHALLENGE_NOT_PUBLISHED, message)
            time.sleep(PAUSE)

    def _withdraw(self, zone: ZoneKey, record: ExpectedRecord) -> None:
        try:
            publish(zone, [], remove=[record], timeout=self._timeout)
        except DnsUpdateError as error:
            # It proves nothing any more, and later orders for the name replace it.
            log.warning("%s stays published: %s", record.name, error)


def _record(name: str, value: str) -> ExpectedRecord:
    return ExpectedRecord(Purpose.CHALLENGE, "TXT", f"{LABEL}.{name}", value)
