"""DNS zones that we may update with RFC 2136 and TSIG."""

import base64
import binascii
from uuid import UUID

from sqlmodel import Session, col, delete, select

from orchestrator.dns.publishing import ZoneKey
from orchestrator.errors import Invalid, NotFound
from orchestrator.models import PublishedRecord, Workspace, Zone
from orchestrator.secrets import Vault
from orchestrator.services import validation
from orchestrator.services.rows import unique

TSIG_ALGORITHMS = frozenset({"hmac-sha224", "hmac-sha256", "hmac-sha384", "hmac-sha512"})


def add(
    session: Session,
    vault: Vault,
    *,
    name: str,
    server: str,
    tsig_name: str,
    tsig_secret: str,
    tsig_algorithm: str = "hmac-sha256",
    port: int = 53,
    workspace: Workspace | None = None,
) -> Zone:
    """Let us publish in a zone: a workspace's, or without one the fleet's own.

    :raises Conflict: when the zone is known already.
    """
    if tsig_algorithm not in TSIG_ALGORITHMS:
        allowed = ", ".join(sorted(TSIG_ALGORITHMS))
        raise Invalid(f"tsig_algorithm is not one of {allowed}", field="tsig_algorithm")
    try:
        secret = base64.b64decode(tsig_secret, validate=True)
    except (binascii.Error, ValueError):
        secret = b""
    if not secret:
        raise Invalid("tsig_secret is not base64", field="tsig_secret")
    row = Zone(
        name=validation.zone_name(name),
        workspace_id=workspace.id if workspace else None,
        server=validation.ip(server, field="server", loopback=True),
        port=validation.port(port),
        tsig_name=validation.zone_name(tsig_name, field="tsig_name"),
        tsig_algorithm=tsig_algorithm,
        tsig_secret=vault.encrypt(tsig_secret),
    )
    with unique(session, f"the zone {row.name} is known already"):
        session.add(row)
    return row


def list_(session: Session) -> list[Zone]:
    """All zones, by name."""
    return list(session.exec(select(Zone).order_by(Zone.name)))


def remove(session: Session, name: str) -> None:
    """Publish in a zone no more; its records stay as they are, and are forgotten as ours."""
    row = session.exec(select(Zone).where(Zone.name == validation.zone_name(name))).first()
    if row is None:
        raise NotFound(f"there is no zone {name}")
    session.exec(delete(PublishedRecord).where(col(PublishedRecord.zone_id) == row.id))
    session.delete(row)
    session.flush()


def covering(session: Session, name: str, workspace_id: UUID | None) -> Zone | None:
    """The closest zone around ``name`` that belongs to the same workspace (None: to the fleet).

    Never another's: one tenant could otherwise have us prove another tenant's domain.
    """
    labels = name.split(".")
    suffixes = [".".join(labels[start:]) for start in range(len(labels))]
    owner = col(Zone.workspace_id)
    mine = owner.is_(None) if workspace_id is None else owner == workspace_id
    rows = session.exec(select(Zone).where(mine, col(Zone.name).in_(suffixes)))
    return max(rows, key=lambda zone: len(zone.name), default=None)


def key(session: Session, vault: Vault, name: str, workspace_id: UUID | None) -> ZoneKey | None:
    """What updates the closest zone of ours around ``name``, as ``covering`` finds it."""
    zone = covering(session, name, workspace_id)
    return None if zone is None else opened(vault, zone)


def opened(vault: Vault, zone: Zone) -> ZoneKey:
    """What updates the zone, with its secret readable."""
    return ZoneKey(
        zone=zone.name,
        server=zone.server,
        port=zone.port,
        tsig_name=zone.tsig_name,
        tsig_algorithm=zone.tsig_algorithm,
        tsig_secret=vault.decrypt(zone.tsig_secret),
    )
