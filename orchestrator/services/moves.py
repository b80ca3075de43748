"""Moves: the mail of one dedicated IP goes over to another host, nothing of it lost.

What an operator may ask for; how a move then goes on is in ``relocations``.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlmodel import Session, col, select
from sqlmodel.sql.expression import SelectOfScalar

from orchestrator import transit
from orchestrator.errors import Conflict, NotFound
from orchestrator.models import (
    Address,
    AddressState,
    Host,
    Move,
    MovePhase,
    RelocationState,
    Workspace,
)
from orchestrator.services import addresses, hosts, relocations
from orchestrator.services.rows import lock
from orchestrator.services.wake import wake_dns, wake_workspace

ENDED = (MovePhase.DONE, MovePhase.CANCELLED)


@dataclass(frozen=True)
class Progress:
    """How far a move is. ``copied`` and ``moved`` count mailboxes, of ``mailboxes`` in all."""

    source: str
    target: str
    workspace: str
    from_host: str
    to_host: str
    phase: MovePhase
    mailboxes: int
    copied: int
    moved: int
    reason: str | None
    message: str
    #: When it was asked for, or when it ended.
    since: datetime

    def as_dict(self) -> dict[str, Any]:
        """For tables and JSON."""
        return {
            "from": self.source,
            "to": self.target,
            "workspace": self.workspace,
            "from_host": self.from_host,
            "to_host": self.to_host,
            "phase": str(self.phase),
            "mailboxes": self.mailboxes,
            "copied": self.copied,
            "moved": self.moved,
            "reason": self.reason,
            "message": self.message,
            "since": self.since.isoformat(),
        }

    @property
    def ended(self) -> bool:
        """Whether nothing more will happen."""
        return self.phase in ENDED


def start(
    session: Session,
    source: Address,
    *,
    to: Address | None = None,
    to_host: Host | None = None,
    ignore_dns: bool = False,
) -> Move:
    """Let the mail of ``source`` go over to another address of its workspace.

    :param to: the address: free, or the workspace's own already; otherwise a free one is
        taken, of ``to_host`` or from the least used hosts.
    :param ignore_dns: go on without having seen the new records in DNS.
    :raises Conflict: when the source is nobody's, or either takes part in a move already, or
        both are on one host, or of different IP versions, or ``to`` is another workspace's.
    :raises Unavailable: when no address is free.
    """
    if source.state is not AddressState.ASSIGNED or source.workspace_id is None:
        raise Conflict(f"{source.ip} is not assigned to a workspace")
    _require_still(session, source)
    workspace = session.get_one(Workspace, source.workspace_id)
    taken = to is None or to.state is AddressState.FREE
    if to is None:
        (to,) = addresses.assign(
            session, workspace, version=source.version, host=to_host, not_host=source.host_id
        )
    _require_fit(session, source, to)
    if to.state is AddressState.FREE:
        addresses.take(session, workspace, to)
    move = Move(
        workspace_id=workspace.id,
        source_id=source.id,
        target_id=to.id,
        target_taken=taken,
        ignore_dns=ignore_dns,
    )
    session.add(move)
    session.flush()
    wake_dns(session, workspace.id)
    wake_workspace(session, workspace.id)
    return move


def _require_still(session: Session, address: Address) -> None:
    if transit.of_address(session, address.id) is not None:
        raise Conflict(f"{address.ip} takes part in a move already")


def _require_fit(session: Session, source: Address, to: Address) -> None:
    _require_still(session, to)
    mine = to.state is AddressState.ASSIGNED and to.workspace_id == source.workspace_id
    if not (mine or to.state is AddressState.FREE):
        raise Conflict(f"{to.ip} is neither free nor of the same workspace")
    if to.host_id == source.host_id:
        raise Conflict(f"{to.ip} is on the same host: assign it, then release {source.ip}")
    if to.version != source.version:
        raise Conflict(f"{source.ip} and {to.ip} are of different IP versions")


def evacuate(
    session: Session, host: Host, *, to_host: Host | None = None, ignore_dns: bool = False
) -> list[Move]:
    """Move every assigned address of a host elsewhere; it takes no new ones from now on.

    Those that move already are left to it.

    :raises Unavailable: when the pool lacks addresses; the caller's transaction must then be
        undone.
    """
    if to_host is not None and to_host.id == host.id:
        raise Conflict(f"{host.name} can't be evacuated to itself")
    assigned = select(Address).where(
        Address.host_id == host.id, Address.state == AddressState.ASSIGNED
    )
    _lock(session, {row.workspace_id for row in session.exec(assigned) if row.workspace_id})
    hosts.drain(session, host)
    return [
        start(session, address, to_host=to_host, ignore_dns=ignore_dns)
        for address in _still(session, assigned)
    ]


def hand_over(
    session: Session, host: Host, workspace: Workspace, targets: Sequence[Host]
) -> list[Move]:
    """Move the workspace's assigned addresses of a host to the least used of the targets.

    Those that move already are left to it.

    :raises Unavailable: when the targets lack addresses; the caller's transaction must then be
        undone.
    """
    _lock(session, {workspace.id})
    assigned = select(Address).where(
        Address.host_id == host.id,
        Address.workspace_id == workspace.id,
        Address.state == AddressState.ASSIGNED,
    )
    return [
        start(session, address, to_host=addresses.least_used(session, targets, address.version))
        for address in _still(session, assigned)
    ]


def _lock(session: Session, tenants: Collection[UUID]) -> None:
    """Lock all that moves of several addresses will change, in order (see ``db``)."""
    lock(session, Workspace, tenants)
    wake_dns(session, *tenants)
    lock(session, Host, session.exec(select(Host.id)).all())


def _still(session: Session, rows: SelectOfScalar[Address]) -> list[Address]:
    """Those that don't take part in a move, as they are now that they are locked."""
    found = session.exec(rows.order_by(Address.ip), execution_options={"populate_existing": True})
    return [row for row in found.all() if transit.of_address(session, row.id) is None]


def cancel(session: Session, source: Address) -> Move:
    """Give a move up; the copies that it made are removed, and nothing else has happened.

    :raises NotFound: when the address does not move.
    :raises Conflict: when mailboxes go over already.
    """
    move = transit.of_address(session, source.id)
    if move is None or move.source_id != source.id:
        raise NotFound(f"{source.ip} is not moving")
    if move.phase not in (MovePhase.PREPARING, MovePhase.COPYING, MovePhase.CANCELLING):
        raise Conflict(f"{source.ip} can't be called back: its mailboxes go over already")
    relocations.enter(session, move, MovePhase.CANCELLING)
    return move


def list_(session: Session, *, ended: bool = False) -> list[Progress]:
    """The moves under way, oldest first; with ``ended`` also those that are over."""
    rows = select(Move).order_by(col(Move.id))
    if not ended:
        rows = rows.where(col(Move.phase).not_in(ENDED))
    return [progress(session, move) for move in session.exec(rows).all()]


def progress(session: Session, move: Move) -> Progress:
    """How far a move is."""
    source = session.get_one(Address, move.source_id)
    target = session.get_one(Address, move.target_id)
    rows = relocations.living(session, move)
    return Progress(
        source=source.ip,
        target=target.ip,
        workspace=session.get_one(Workspace, move.workspace_id).slug,
        from_host=session.get_one(Host, source.host_id).name,
        to_host=session.get_one(Host, target.host_id).name,
        phase=move.phase,
        mailboxes=len(rows),
        copied=sum(row.messages is not None for row, _ in rows),
        moved=sum(row.state is RelocationState.MOVED for row, _ in rows),
        reason=move.reason,
        message=move.message,
        since=move.ended_at or move.created_at,
    )
