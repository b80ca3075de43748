"""Publishes records in managed zones, and withdraws them when nobody expects them any more."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from uuid import UUID

from sqlalchemy import Engine

from orchestrator.conditions import Reason, Status
from orchestrator.db import reading, writing
from orchestrator.dns.publishing import DnsUpdateError, ZoneKey, publish
from orchestrator.dns.records import ExpectedRecord
from orchestrator.models import Zone
from orchestrator.secrets import Vault
from orchestrator.services import ledger, restored, zones
from orchestrator.settings import Settings

log = logging.getLogger(__name__)

#: Records, and the subject (domain, host or address) that each is for.
Owned = Mapping[ExpectedRecord, UUID]


@dataclass(frozen=True)
class Published:
    """What came of publishing, for ``RecordsPublished``, and the managed zones concerned."""

    status: Status
    reason: Reason
    message: str
    zone_ids: tuple[UUID, ...] = ()


class Publication:
    """Keeps managed zones and the ledger of what we wrote there in step.

    A record is in the ledger before it is in the zone: whoever dies between the two leaves a
    line that is withdrawn in vain, never a record that nobody remembers.
    """

    def __init__(self, engine: Engine, settings: Settings, vault: Vault) -> None:
        self._engine = engine
        self._settings = settings
        self._vault = vault

    def publish(self, wanted: Owned, workspace_id: UUID | None) -> Published:
        """Make the workspace's zones (None: the fleet's) hold the wanted records.

        :returns: the worst of what came of it, zone by zone.
        """
        with reading(self._engine) as session:
            if (made_at := restored.held(session)) is not None:
                return Published(Status.UNKNOWN, Reason.PAUSED, restored.reason(made_at))
            placed = {
                record: zones.covering(session, record.name, workspace_id) for record in wanted
            }
            around = {
                zone.id: zones.opened(self._vault, zone)
                for zone in placed.values()
                if zone is not None
            }
        outcomes = []
        if None in placed.values():
            text = "the records are copied by hand"
            outcomes.append(Published(Status.FALSE, Reason.NOT_MANAGED, text))
        for zone_id, key in around.items():
            inside = {r: wanted[r] for r, zone in placed.items() if zone and zone.id == zone_id}
            outcomes.append(self._publish(zone_id, key, inside))
        worst = next((o for o in outcomes if o.status is not Status.TRUE), outcomes[0])
        return replace(worst, zone_ids=tuple(around))

    def _publish(self, zone_id: UUID, key: ZoneKey, wanted: Owned) -> Published:
        owners = {(record.type, record.name): subject for record, subject in wanted.items()}

        def announce(brought: Sequence[ExpectedRecord]) -> None:
            with writing(self._engine) as session:
                owned = {record: owners[record.type, record.name] for record in brought}
                ledger.claim(session, zone_id, owned)

        ttl, timeout = self._settings.record_ttl, self._settings.dns_timeout
        try:
            publish(key, list(wanted), announce=announce, timeout=timeout, ttl=ttl)
        except DnsUpdateError as error:
            unknown = error.reason is Reason.SERVER_UNREACHABLE
            status = Status.UNKNOWN if unknown else Status.FALSE
            return Published(status, error.reason, str(error))
        return Published(Status.TRUE, Reason.OBSERVED, f"published in {key.zone}")

    def withdraw(self, subject_id: UUID) -> None:
        """Take a subject's records that are due out of their zones, or try again later."""
        with reading(self._engine) as session:
            due = ledger.due_records(session, subject_id)
            keys = {
                zone_id: zones.opened(self._vault, session.get_one(Zone, zone_id))
                for zone_id in due
            }
        for zone_id, records in due.items():
            try:
                publish(keys[zone_id], [], remove=records, timeout=self._settings.dns_timeout)
            except DnsUpdateError as error:
                log.warning("%s: not withdrawn, tried again: %s", keys[zone_id].zone, error)
                with writing(self._engine) as session:
                    ledger.postpone(session, zone_id, records, self._settings.dns_interval)
            else:
                with writing(self._engine) as session:
                    ledger.withdrawn(session, zone_id, records)

    def abandon(self) -> None:
        """Have withdrawn what was published for domains, hosts and addresses that are no more."""
        with writing(self._engine) as session:
            ledger.abandon(session)
