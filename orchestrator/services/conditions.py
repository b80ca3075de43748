"""Conditions: what was last observed of a host, an address or a domain."""

from collections.abc import Collection, Mapping
from uuid import UUID

from sqlalchemy.exc import IntegrityError
from sqlmodel import Session, col, select

from orchestrator.conditions import Reason, Status, Type
from orchestrator.models import Condition, utcnow

#: Conditions of several subjects, by subject and type.
Observed = Mapping[tuple[UUID, Type], Condition]
#: Status, reason and message.
Verdict = tuple[Status, Reason, str]


def set_(  # noqa: PLR0917 - status, reason and message are one observation, passed on whole
    session: Session,
    subject_id: UUID,
    type_: Type,
    status: Status,
    reason: Reason,
    message: str = "",
) -> None:
    """Write down what was just observed; see ``set_all``."""
    set_all(session, subject_id, {type_: (status, reason, message)})


def set_all(session: Session, subject_id: UUID, verdicts: Mapping[Type, Verdict]) -> None:
    """Write down all that was just observed of a subject.

    ``transition_at`` moves only when the status changes; ``known`` keeps the last status that
    was not Unknown, so that a time-out takes nothing back.
    """
    now = utcnow()
    wanted = col(Condition.type).in_(verdicts)
    found = select(Condition).where(Condition.subject_id == subject_id, wanted)
    rows = {row.type: row for row in session.exec(found)}
    for type_, (status, reason, message) in verdicts.items():
        row = rows.get(type_) or _first(session, subject_id, type_, status, reason)
        if row.status != status:
            row.transition_at = now
        row.status = status
        row.known = row.known if status is Status.UNKNOWN else status
        row.reason = reason
        row.message = message
        row.observed_at = now


def _first(
    session: Session, subject_id: UUID, type_: Type, status: Status, reason: Reason
) -> Condition:
    row = Condition(subject_id=subject_id, type=type_, status=status, reason=reason)
    try:
        with session.begin_nested():
            session.add(row)
    except IntegrityError:  # another reconciler was the first to see something
        found = select(Condition).where(Condition.subject_id == subject_id, Condition.type == type_)
        return session.exec(found).one()
    return row


def get_all(session: Session, subject_ids: Collection[UUID]) -> dict[tuple[UUID, Type], Condition]:
    """All conditions of the subjects, in one query."""
    rows = session.exec(select(Condition).where(col(Condition.subject_id).in_(subject_ids)))
    return {(row.subject_id, row.type): row for row in rows}
