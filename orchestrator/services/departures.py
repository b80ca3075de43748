"""Addresses leave the pool for ever, with all that is known of them but their history."""

from collections.abc import Sequence

from sqlmodel import Session, col, delete, select

from orchestrator.errors import Conflict
from orchestrator.models import (
    Address,
    AddressEventKind,
    AddressState,
    Condition,
    EgressProbe,
    Mailbox,
    Move,
    Relocation,
)
from orchestrator.services import history
from orchestrator.services.wake import wake

#: What a tenant has, or had until its host has let go of it.
_HELD = (AddressState.ASSIGNED, AddressState.COOLDOWN)


def remove(session: Session, address: Address) -> None:
    """Take an address out of the pool; its host stops sending from it, its names are withdrawn.

    :raises Conflict: when a tenant has it, or it still rests.
    """
    if address.state in _HELD:
        raise Conflict(f"{address.ip} is {address.state}: it can't leave the pool now")
    host_id = address.host_id
    forget(session, [address], "by hand")
    session.flush()
    wake(session, [host_id])


def forget(session: Session, addresses: Sequence[Address], why: str) -> None:
    """Delete addresses of which no workspace has one, and what refers to them."""
    for address in addresses:
        history.note(session, address, AddressEventKind.REMOVED, why)
    session.flush()
    ids = [address.id for address in addresses]
    # Only deleted mailboxes are left on unassigned addresses; nothing remains to be applied
    # for them where the address is no more.
    orphans = select(Mailbox.id).where(col(Mailbox.address_id).in_(ids))
    session.exec(delete(Relocation).where(col(Relocation.mailbox_id).in_(orphans)))
    moves = select(Move.id).where(col(Move.source_id).in_(ids) | col(Move.target_id).in_(ids))
    session.exec(delete(Relocation).where(col(Relocation.move_id).in_(moves)))
    session.exec(delete(Move).where(col(Move.id).in_(moves)))
    session.exec(delete(Mailbox).where(col(Mailbox.address_id).in_(ids)))
    session.exec(delete(Condition).where(col(Condition.subject_id).in_(ids)))
    session.exec(delete(EgressProbe).where(col(EgressProbe.address_id).in_(ids)))
    session.exec(delete(Address).where(col(Address.id).in_(ids)))
