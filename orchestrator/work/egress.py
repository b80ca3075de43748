"""Egress proof: a message that left through an address, as the control plane received it."""

import secrets
from datetime import timedelta
from uuid import UUID

from sqlalchemy import Engine
from sqlmodel import Session, col, select

from orchestrator.conditions import Reason, Status, Type
from orchestrator.db import reading, writing
from orchestrator.fleet import Fleet
from orchestrator.hosts.errors import HostError
from orchestrator.hostspec import AddressSpec
from orchestrator.mail.probe import build_probe
from orchestrator.mail.receiver import Arrival
from orchestrator.models import Address, Domain, EgressProbe, Host, utcnow
from orchestrator.services import conditions
from orchestrator.settings import Settings
from orchestrator.spec import probe_sender

#: What has to hold before a probe can prove anything, and where.
READY = (Type.CONVERGED, Type.DKIM_OK, Type.PTR_CONFIRMED)


class Egress:
    """Sends probes and judges what arrives. ``arrived`` is the receiver's callback."""

    def __init__(self, engine: Engine, settings: Settings, fleet: Fleet) -> None:
        self._engine = engine
        self._settings = settings
        self._fleet = fleet

    def send(self, address_id: UUID) -> bool:
        """Send a probe out through one address.

        :returns: whether one is under way; when not, the condition says what is missing.
        """
        token = secrets.token_hex(16)
        with writing(self._engine) as session:
            address = session.get_one(Address, address_id)
            host = session.get_one(Host, address.host_id)
            address.egress_due_at = utcnow() + timedelta(seconds=self._settings.egress_timeout)
            missing = _missing(session, address, host)
            if missing:
                text = f"not tried before {missing} holds"
                _judge(session, address, Status.UNKNOWN, Reason.NOT_YET_CHECKED, text)
                return False
            session.add(EgressProbe(address_id=address_id, token=token))
        sender = probe_sender(AddressSpec(address.ip, address.ptr_name), host.hostname)
        recipient = f"egress-{token}@{self._settings.probe_domain}"
        try:
            answer = self._fleet.pool.run(
                self._fleet.target(host),
                f"/usr/sbin/sendmail -i -f {sender} -- {recipient}",
                build_probe(sender, recipient),
            )
        except HostError as error:
            return self._not_sent(address_id, error.reason, str(error))
        if answer.status != 0:
            return self._not_sent(address_id, Reason.NOT_SENT, answer.stderr.strip())
        return True

    def _not_sent(self, address_id: UUID, reason: Reason, text: str) -> bool:
        with writing(self._engine) as session:
            address = session.get_one(Address, address_id)
            _judge(session, address, Status.UNKNOWN, reason, text)
        return False

    def arrived(self, arrival: Arrival) -> None:
        """Judge a probe that came in; an unknown or repeated token is ignored."""
        with writing(self._engine) as session:
            row = session.exec(
                select(EgressProbe).where(
                    EgressProbe.token == arrival.token, col(EgressProbe.arrived_at).is_(None)
                )
            ).first()
            if row is None:
                return
            row.arrived_at = utcnow()
            row.source_ip, row.ehlo = arrival.source_ip, arrival.ehlo
            row.dkim_domain = arrival.dkim_domain
            address = session.get_one(Address, row.address_id)
            host = session.get_one(Host, address.host_id)
            status, reason, text = _verdict(session, address, host, arrival)
            _judge(session, address, status, reason, text)
            wait = (
                self._settings.egress_interval
                if status is Status.TRUE
                else self._settings.dns_interval
            )
            address.egress_due_at = utcnow() + timedelta(seconds=wait)

    def expire(self) -> None:
        """Write down the probes that did not arrive within the time allowed."""
        limit = utcnow() - timedelta(seconds=self._settings.egress_timeout)
        late = select(EgressProbe).where(
            col(EgressProbe.arrived_at).is_(None), EgressProbe.created_at < limit
        )
        with writing(self._engine) as session:
            for row in session.exec(late).all():
                address = session.get_one(Address, row.address_id)
                text = f"nothing arrived within {self._settings.egress_timeout:g} s"
                _judge(session, address, Status.FALSE, Reason.NOT_ARRIVED, text)
                session.delete(row)

    def waiting(self) -> bool:
        """Whether a probe is still under way."""
        with reading(self._engine) as session:
            under_way = select(EgressProbe.id).where(col(EgressProbe.arrived_at).is_(None))
            return session.exec(under_way).first() is not None


def _missing(session: Session, address: Address, host: Host) -> str:
    own = session.exec(select(Domain).where(Domain.host_id == host.id)).one()
    known = conditions.get_all(session, [address.id, host.id, own.id])
    held = {kind for (_, kind), row in known.items() if row.status == Status.TRUE}
    confirmed = known.get((address.id, Type.PTR_CONFIRMED))
    if confirmed is None or confirmed.status != Status.TRUE:
        held.discard(Type.PTR_CONFIRMED)
    return ", ".join(kind for kind in READY if kind not in held)


def _verdict(
    session: Session, address: Address, host: Host, arrival: Arrival
) -> tuple[Status, Reason, str]:
    ptr = conditions.get_all(session, [address.id]).get((address.id, Type.PTR_CONFIRMED))
    if arrival.source_ip != address.ip:
        return Status.FALSE, Reason.WRONG_SOURCE, f"it came from {arrival.source_ip}"
    if arrival.ehlo.lower() != address.ptr_name:
        return Status.FALSE, Reason.WRONG_EHLO, f"it said EHLO {arrival.ehlo}"
    if ptr is None or ptr.status != Status.TRUE:
        return Status.FALSE, Reason.PTR_NOT_CONFIRMED, "its PTR is not forward-confirmed"
    if arrival.dkim_domain != host.hostname:
        seen = arrival.dkim_domain or "no valid signature"
        return Status.FALSE, Reason.SIGNATURE_INVALID, f"signed by: {seen}"
    text = f"from {arrival.source_ip}, EHLO {arrival.ehlo}, PTR the same, DKIM {host.hostname}"
    return Status.TRUE, Reason.OBSERVED, text


def _judge(session: Session, address: Address, status: Status, reason: Reason, text: str) -> None:
    conditions.set_(session, address.id, Type.EGRESS_PROVEN, status, reason, text)
