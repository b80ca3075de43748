"""Hosts: the operator's mail servers."""

import base64
import binascii
import re

from sqlmodel import Session, col, delete, select

from orchestrator import dkim
from orchestrator.conditions import Reason, Status, Type
from orchestrator.errors import Conflict, Invalid, NotFound
from orchestrator.models import (
    Address,
    AddressState,
    Certificate,
    Condition,
    DkimKey,
    Domain,
    Host,
    Issuance,
    Run,
    utcnow,
)
from orchestrator.secrets import Vault
from orchestrator.services import conditions, departures, dkim_rotation, validation
from orchestrator.services.rows import unique
from orchestrator.services.wake import wake, wake_dns

_KEY_TYPES = {"ssh-ed25519", "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ssh-rsa"}
_USER = re.compile(r"[a-z_][a-z0-9_-]{0,31}")


def add(
    session: Session,
    vault: Vault,
    *,
    name: str,
    hostname: str,
    address: str,
    host_key: str,
    ssh_port: int = 22,
    ssh_user: str = "root",
) -> Host:
    """Enrol a host, with its own name as a proven domain: the operator vouches for it.

    :param address: its own IPv4 address, where SSH is reached and bounces leave from.
    :param host_key: in ``known_hosts`` form, ``ssh-ed25519 AAAA…``.
    :raises Conflict: when the name or the hostname is taken.
    """
    pair = dkim.generate()
    address = validation.ip(address, field="address", loopback=True)
    if ":" in address:
        raise Invalid("address is not an IPv4 address", field="address")
    if not _USER.fullmatch(ssh_user):
        raise Invalid("ssh_user is not a Unix user name", field="ssh_user")
    host = Host(
        name=validation.slug(name, field="name"),
        hostname=validation.fqdn(hostname, field="hostname"),
        address=address,
        ssh_port=validation.port(ssh_port, field="ssh_port"),
        ssh_user=ssh_user,
        host_key=_host_key(host_key),
    )
    with unique(session, f"a host {host.name} or {host.hostname} exists already"):
        session.add(host)
    domain = Domain(name=host.hostname, host_id=host.id, verified_at=utcnow())
    with unique(session, f"{host.hostname} is a workspace's domain already"):
        session.add(domain)
    dkim_rotation.add(session, vault, domain, pair)
    return host


def _host_key(text: str) -> str:
    kind, _, blob = text.strip().partition(" ")
    blob = blob.partition(" ")[0]
    try:
        raw = base64.b64decode(blob, validate=True)
    except binascii.Error:
        raw = b""
    # The blob names its own type: a key pasted in two halves is noticed here.
    if kind not in _KEY_TYPES or raw[4 : 4 + len(kind)] != kind.encode():
        raise Invalid("host_key is not an SSH public key (ssh-ed25519 AAAA…)", field="host_key")
    return f"{kind} {blob}"


def get_by_name(session: Session, name: str) -> Host:
    """The host of that name."""
    row = session.exec(select(Host).where(Host.name == name)).first()
    if row is None:
        raise NotFound(f"there is no host {name}")
    return row


def list_(session: Session) -> list[Host]:
    """All hosts, by name."""
    return list(session.exec(select(Host).order_by(Host.name)))


def pause(session: Session, host: Host, reason: str = "") -> Host:
    """Leave the host as it is until it is resumed.

    :param reason: a line for those who find it paused.
    """
    host.paused = True
    host.pause_reason = validation.line(reason, field="reason", limit=200)
    session.add(host)
    # What it is from now on nobody looks at; what it was is kept as known.
    conditions.set_(
        session, host.id, Type.CONVERGED, Status.UNKNOWN, Reason.PAUSED, host.pause_reason
    )
    return host


def drain(session: Session, host: Host) -> Host:
    """The host gets no new addresses, mailboxes or MX records; what it has is served on."""
    _wake_tenants(session, host)
    host.draining = True
    session.add(host)
    wake(session, [host.id])
    return host


def resume(session: Session, host: Host) -> Host:
    """The host may be changed again and given new work, and is looked at now."""
    _wake_tenants(session, host)
    host.draining = False
    return unpause(session, host)


def unpause(session: Session, host: Host) -> Host:
    """The host may be changed again, and is looked at now; its draining goes on."""
    host.paused, host.pause_reason, host.restored_from = False, "", None
    session.add(host)
    wake(session, [host.id])
    return host


def _wake_tenants(session: Session, host: Host) -> None:
    # Domains are locked before hosts (see ``db``): before anything is written to the host.
    tenants = select(Address.workspace_id).where(
        Address.host_id == host.id, Address.state == AddressState.ASSIGNED
    )
    wake_dns(session, *{id_ for id_ in session.exec(tenants) if id_ is not None})


def rekey(session: Session, host: Host, host_key: str) -> Host:
    """Trust a new SSH host key, as after a reinstallation."""
    host.host_key = _host_key(host_key)
    host.os = None  # the new system may be of another release
    session.add(host)
    wake(session, [host.id])
    return host


def remove(session: Session, host: Host) -> None:
    """Forget a host and its addresses; the machine itself is not touched.

    :raises Conflict: when workspaces still have addresses on it, or it is a cluster's MTA.
    """
    if host.cluster_id is not None:
        raise Conflict(f"{host.name} is an MTA of a cluster: `mailfleet clusters remove-mta` first")
    addresses = session.exec(select(Address).where(Address.host_id == host.id)).all()
    if any(address.state is AddressState.ASSIGNED for address in addresses):
        raise Conflict(f"{host.name} carries addresses that are assigned to workspaces")
    domains = session.exec(select(Domain.id).where(Domain.host_id == host.id)).all()
    departures.forget(session, addresses, "with its host")
    session.exec(delete(Condition).where(col(Condition.subject_id).in_([host.id, *domains])))
    session.exec(delete(Run).where(col(Run.host_id) == host.id))
    session.exec(delete(Issuance).where(col(Issuance.host_id) == host.id))
    session.exec(delete(Certificate).where(col(Certificate.host_id) == host.id))
    session.exec(delete(DkimKey).where(col(DkimKey.domain_id).in_(domains)))
    session.exec(delete(Domain).where(col(Domain.id).in_(domains)))
    session.exec(delete(Host).where(col(Host.id) == host.id))
