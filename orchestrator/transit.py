"""What is on the move: the questions that everybody else has about moves."""

from dataclasses import dataclass
from uuid import UUID

from sqlalchemy.orm import aliased
from sqlmodel import Session, col, select

from orchestrator.models import Address, Move, MovePhase, Relocation, RelocationState

#: While a move is in one of these, its source and its target belong to it.
UNDER_WAY = (
    MovePhase.PREPARING,
    MovePhase.COPYING,
    MovePhase.SWITCHING,
    MovePhase.OVERLAPPING,
    MovePhase.CANCELLING,
)

_SOURCE, _TARGET = aliased(Address), aliased(Address)
#: Made once: every pass asks, and making it costs more than asking.
_PASSAGES = (
    select(Relocation.mailbox_id, Relocation.state, _SOURCE, _TARGET)
    .join(Move, col(Move.id) == col(Relocation.move_id))
    .join(_SOURCE, col(_SOURCE.id) == col(Move.source_id))
    .join(_TARGET, col(_TARGET.id) == col(Move.target_id))
    .where(col(Move.phase).in_(UNDER_WAY), Relocation.state != RelocationState.WAITING)
)


@dataclass(frozen=True)
class Passage:
    """A mailbox between two addresses."""

    state: RelocationState
    source: Address
    target: Address

    def ip_on(self, host_id: UUID) -> str | None:
        """The address of the two that the host carries."""
        ends = (self.source, self.target)
        return next((address.ip for address in ends if address.host_id == host_id), None)


def sources(session: Session, *phases: MovePhase) -> set[UUID]:
    """The addresses whose mail is moving away; of moves in these phases, by default of all."""
    wanted = phases or UNDER_WAY
    return set(session.exec(select(Move.source_id).where(col(Move.phase).in_(wanted))))


def of_address(session: Session, address_id: UUID) -> Move | None:
    """The move that an address takes part in, on either end."""
    mine = (col(Move.source_id) == address_id) | (col(Move.target_id) == address_id)
    return session.exec(select(Move).where(mine, col(Move.phase).in_(UNDER_WAY))).first()


def passages(session: Session) -> dict[UUID, Passage]:
    """Every mailbox that is held, or has gone over in a move that is not done, by its id."""
    return {
        mailbox: Passage(RelocationState(state), s, t)
        for mailbox, state, s, t in session.exec(_PASSAGES)
    }
