"""What the world observes: names in DNS, reverse names, and mail that really left an address.

Each check publishes first where the zone is ours, then looks as anybody would, and writes down
what it saw as conditions. A check that could not look says Unknown and demotes nothing.
"""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from uuid import UUID

from sqlalchemy import Engine
from sqlmodel import Session, select

from orchestrator.conditions import Reason, Status, Type
from orchestrator.db import reading, writing
from orchestrator.dns.judgement import Answers, judge
from orchestrator.dns.records import (
    ExpectedRecord,
    Purpose,
    address_records,
    dkim_name,
    host_records,
    name_records,
)
from orchestrator.dns.resolver import Resolver
from orchestrator.dns.verification import Observation, gather, negative_ttl, verify_ptr
from orchestrator.models import Address, Cluster, DkimKey, DkimState, Domain, Host, utcnow
from orchestrator.services import clusters, conditions, dkim_rotation, domains, ledger, reputation
from orchestrator.services.rows import lock_name
from orchestrator.services.wake import wake_cluster, wake_workspace
from orchestrator.settings import Settings
from orchestrator.work.publication import Publication

TYPES = {
    Purpose.OWNERSHIP: Type.OWNERSHIP_PROVEN,
    Purpose.MX: Type.MX_OK,
    Purpose.SPF: Type.SPF_OK,
    Purpose.DMARC: Type.DMARC_OK,
}


def _each_key(
    domain: Domain,
    keys: Sequence[DkimKey],
    records: Sequence[ExpectedRecord],
    answers: Answers,
) -> dict[str, Observation]:
    """What was seen of each key's own record, by selector."""
    names = {dkim_name(key.selector, domain.name): key.selector for key in keys}
    return {
        names[record.name]: judge(answers, [record], spf_ips=())[0]
        for record in records
        if record.name in names
    }


class Proofs:
    """DNS and reverse DNS of domains, hosts and addresses."""

    def __init__(
        self, engine: Engine, settings: Settings, publication: Publication, resolver: Resolver
    ) -> None:
        self._engine = engine
        self._settings = settings
        self._publication = publication
        self._resolver = resolver

    def check_domain(self, domain_id: UUID) -> list[Observation]:
        """Publish (where the zone is managed) and verify one domain's records.

        :returns: what was seen of each.
        """
        with reading(self._engine) as session:
            domain = session.get(Domain, domain_id)
            if domain is None or domain.deleted_at is not None:
                return []
            expected = domains.expected_records(session, self._settings, domain)
            records = ledger.with_lingering(session, domain_id, expected)
            keys = dkim_rotation.keys(session, domain_id)
        owned = dict.fromkeys(records, domain_id)
        published = self._publication.publish(owned, domain.workspace_id)
        answers = gather(self._resolver, records)
        seen = judge(answers, records, spf_ips=domains.spf_ips(expected))
        signatures = _each_key(domain, keys, records, answers)
        waiting = any(key.state is DkimState.PENDING for key in keys)
        negative = negative_ttl(self._resolver, domain.name) if waiting else 0
        with writing(self._engine) as session:
            lock_name(session, domain.name)
            row = session.get(Domain, domain_id)
            if row is None or row.deleted_at is not None:
                return seen
            settle = (published.zone_ids, domain_id, expected, self._settings.record_ttl)
            ledger.settle(session, *settle)
            outcome = (published.status, published.reason, published.message)
            conditions.set_(session, domain_id, Type.RECORDS_PUBLISHED, *outcome)
            self._keep(session, row, [o for o in seen if o.purpose is not Purpose.DKIM])
            self._keep_keys(session, row, signatures, negative)
        return seen

    def _keep(self, session: Session, domain: Domain, seen: Sequence[Observation]) -> None:
        domain.checked_at = now = utcnow()
        # What was committed during the look has asked for another one already.
        if domain.dns_due_at > now:
            domain.dns_due_at = now + timedelta(seconds=self._settings.dns_interval)
        verdicts = {TYPES[o.purpose]: (o.status, o.reason, o.message) for o in seen}
        conditions.set_all(session, domain.id, verdicts)
        proven = any(o.purpose is Purpose.OWNERSHIP and o.status == Status.TRUE for o in seen)
        if proven and domain.verified_at is None:
            self._accept(session, domain)

    def _keep_keys(
        self, session: Session, domain: Domain, seen: Mapping[str, Observation], negative: int
    ) -> None:
        ready = dkim_rotation.observe(session, self._settings, domain, seen, negative)
        domain.dns_due_at = min(domain.dns_due_at, ready or domain.dns_due_at)
        verdicts = {
            Type.DKIM_OK: dkim_rotation.verdict(session, self._settings, domain, seen),
            Type.DKIM_ROTATED: dkim_rotation.rotation(session, self._settings, domain),
        }
        conditions.set_all(session, domain.id, verdicts)
        # A cluster's domain is proven by the key that only this cluster has.
        if domain.cluster_id is not None and domain.verified_at is None:
            keys = dkim_rotation.keys(session, domain.id)
            if any(key.state is DkimState.ACTIVE for key in keys):
                self._accept(session, domain)

    def _accept(self, session: Session, domain: Domain) -> None:
        if domains.proven_elsewhere(session, domain.name, domain.workspace_id):
            text = f"{domain.name} is another workspace's"
            why = (Status.FALSE, Reason.CLAIMED_ELSEWHERE, text)
            conditions.set_(session, domain.id, Type.OWNERSHIP_PROVEN, *why)
            return
        domain.verified_at = utcnow()
        session.flush()
        if domain.cluster_id is not None:
            wake_cluster(session, domain.cluster_id)
        elif domain.workspace_id is not None:
            wake_workspace(session, domain.workspace_id)

    def check_host_names(self, host_id: UUID) -> list[Observation]:
        """Publish and verify the names of a host and of its addresses, forwards and back.

        The name of the cluster that it is of stands for all of the cluster's MTAs.

        :returns: what was seen of each.
        """
        with reading(self._engine) as session:
            host = session.get(Host, host_id)
            if host is None:
                return []
            rows = session.exec(select(Address).where(Address.host_id == host_id)).all()
            subjects = [(host.id, host.address, host.hostname)]
            subjects += [(row.id, row.ip, row.ptr_name) for row in rows]
            records = {row.id: address_records(row.ip, row.ptr_name) for row in rows}
            records[host.id] = host_records(host.hostname, [host.address])
            if host.cluster_id is not None:
                cluster = session.get_one(Cluster, host.cluster_id)
                addresses = [mta.address for mta in clusters.hosts(session, cluster)]
                records[cluster.id] = name_records(cluster.hostname, addresses)
        wanted = {record: key for key, of_subject in records.items() for record in of_subject}
        published = self._publication.publish(wanted, None)
        seen = [(s, verify_ptr(self._resolver, ip, name)) for s, ip, name in subjects]
        with writing(self._engine) as session:
            for subject, of_subject in records.items():
                settle = (published.zone_ids, subject, of_subject, self._settings.record_ttl)
                ledger.settle(session, *settle)
            outcome = (published.status, published.reason, published.message)
            conditions.set_(session, host_id, Type.RECORDS_PUBLISHED, *outcome)
            for subject, observation in seen:
                self._keep_ptr(session, subject, observation)
            row = session.get_one(Host, host_id)
            if row.dns_due_at > utcnow():
                row.dns_due_at = utcnow() + timedelta(seconds=self._settings.dns_interval)
        return [observation for _, observation in seen]

    def _keep_ptr(self, session: Session, subject: UUID, seen: Observation) -> None:
        address = session.get(Address, subject)
        if address is not None:
            reputation.observe_ptr(session, address, seen)
        else:
            verdict = (seen.status, seen.reason, seen.message)
            conditions.set_(session, subject, Type.PTR_CONFIRMED, *verdict)
