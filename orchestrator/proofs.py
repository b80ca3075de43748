"""What the world observes: names in DNS, reverse names, and mail that really left an address.

Each check publishes first where the zone is ours, then looks as anybody would, and writes down
what it saw as conditions. A check that could not look says Unknown and demotes nothing.
"""

from collections.abc import Sequence
from datetime import timedelta
from uuid import UUID

from sqlalchemy import Engine
from sqlalchemy.exc import IntegrityError
from sqlmodel import Session, select

from orchestrator.conditions import Reason, Status, Type
from orchestrator.db import reading, writing
from orchestrator.dns.publishing import DnsUpdateError, ZoneKey, publish
from orchestrator.dns.records import ExpectedRecord, Purpose, address_records, host_records
from orchestrator.dns.resolver import Resolver
from orchestrator.dns.verification import Observation, verify_ptr, verify_records
from orchestrator.models import Address, Domain, Host, utcnow
from orchestrator.secrets import Vault
from orchestrator.services import conditions, domains, zones
from orchestrator.services.wake import wake_workspace
from orchestrator.settings import Settings

TYPES = {
    Purpose.OWNERSHIP: Type.OWNERSHIP_PROVEN,
    Purpose.MX: Type.MX_OK,
    Purpose.SPF: Type.SPF_OK,
    Purpose.DKIM: Type.DKIM_OK,
    Purpose.DMARC: Type.DMARC_OK,
}


class Proofs:
    """DNS and reverse DNS of domains, hosts and addresses."""

    def __init__(
        self, engine: Engine, settings: Settings, vault: Vault, resolver: Resolver
    ) -> None:
        self._engine = engine
        self._settings = settings
        self._vault = vault
        self._resolver = resolver

    def check_domain(self, domain_id: UUID) -> list[Observation]:
        """Publish (where the zone is managed) and verify one domain's records.

        :returns: what was seen of each.
        """
        with reading(self._engine) as session:
            domain = session.get(Domain, domain_id)
            if domain is None or domain.deleted_at is not None:
                return []
            records = domains.expected_records(session, self._settings, domain)
            zone = zones.key(session, self._vault, domain.name, domain.workspace_id)
        published = self._publish(zone, records)
        spf_ips = domains.spf_ips(records)
        seen = verify_records(self._resolver, records, spf_ips=spf_ips)
        with writing(self._engine) as session:
            conditions.set_(session, domain_id, Type.RECORDS_PUBLISHED, *published)
            self._keep(session, domain_id, seen)
        return seen

    def _keep(self, session: Session, domain_id: UUID, seen: Sequence[Observation]) -> None:
        domain = session.get(Domain, domain_id)
        if domain is None or domain.deleted_at is not None:
            return
        domain.checked_at = now = utcnow()
        # What was committed during the look has asked for another one already.
        if domain.dns_due_at > now:
            domain.dns_due_at = now + timedelta(seconds=self._settings.dns_interval)
        for observation in seen:
            conditions.set_(
                session,
                domain_id,
                TYPES[observation.purpose],
                observation.status,
                observation.reason,
                observation.message,
            )
            proven = observation.purpose is Purpose.OWNERSHIP and observation.status == Status.TRUE
            if proven and domain.verified_at is None:
                self._accept(session, domain)

    def _accept(self, session: Session, domain: Domain) -> None:
        try:
            with session.begin_nested():
                domain.verified_at = utcnow()
        except IntegrityError:
            text = f"{domain.name} is another workspace's"
            why = (Status.FALSE, Reason.CLAIMED_ELSEWHERE, text)
            conditions.set_(session, domain.id, Type.OWNERSHIP_PROVEN, *why)
            return
        if domain.workspace_id is not None:
            wake_workspace(session, domain.workspace_id)

    def check_host_names(self, host_id: UUID) -> list[Observation]:
        """Publish and verify the names of a host and of its addresses, forwards and back.

        :returns: what was seen of each.
        """
        with reading(self._engine) as session:
            host = session.get(Host, host_id)
            if host is None:
                return []
            rows = session.exec(select(Address).where(Address.host_id == host_id)).all()
            subjects = [(host.id, host.address, host.hostname)]
            subjects += [(row.id, row.ip, row.ptr_name) for row in rows]
            records = host_records(host.hostname, [host.address])
            for _, ip, name in subjects:
                records += address_records(ip, name)
            keys = {r: zones.key(session, self._vault, r.name, None) for r in records}
        outcomes = [
            self._publish(key, [r for r in records if keys[r] == key])
            for key in dict.fromkeys(keys.values())
        ]
        worst = next((o for o in outcomes if o[0] is not Status.TRUE), outcomes[0])
        seen = [(s, verify_ptr(self._resolver, ip, name)) for s, ip, name in subjects]
        with writing(self._engine) as session:
            conditions.set_(session, host_id, Type.RECORDS_PUBLISHED, *worst)
            for subject, observation in seen:
                conditions.set_(
                    session,
                    subject,
                    Type.PTR_CONFIRMED,
                    observation.status,
                    observation.reason,
                    observation.message,
                )
            row = session.get_one(Host, host_id)
            if row.dns_due_at > utcnow():
                row.dns_due_at = utcnow() + timedelta(seconds=self._settings.dns_interval)
        return [observation for _, observation in seen]

    def _publish(
        self, key: ZoneKey | None, records: Sequence[ExpectedRecord]
    ) -> tuple[Status, Reason, str]:
        if key is None:
            return Status.FALSE, Reason.NOT_MANAGED, "the records are copied by hand"
        try:
            publish(key, records, timeout=self._settings.dns_timeout)
        except DnsUpdateError as error:
            unknown = error.reason is Reason.SERVER_UNREACHABLE
            return Status.UNKNOWN if unknown else Status.FALSE, error.reason, str(error)
        return Status.TRUE, Reason.OBSERVED, f"published in {key.zone}"
