"""Runs: what passes changed or failed, host by host, newest first."""

import re
from uuid import UUID

from sqlmodel import Session, col, delete, func, select

from orchestrator.errors import Conflict, Invalid, NotFound
from orchestrator.models import Host, Run
from orchestrator.services import hosts

#: As many as an answer holds at most.
MOST = 1000


def list_(session: Session, *, host: str | None = None, limit: int = 50) -> list[tuple[Run, str]]:
    """The latest runs, newest first, each with its host's name.

    :param host: only those over the host of this name.
    :raises NotFound: when there is no such host.
    :raises Invalid: when the limit is not between 1 and ``MOST``.
    """
    if not 1 <= limit <= MOST:
        raise Invalid(f"limit is not between 1 and {MOST}", field="limit")
    rows = select(Run, Host.name).join(Host, col(Host.id) == col(Run.host_id))
    if host is not None:
        rows = rows.where(Run.host_id == hosts.get_by_name(session, host).id)
    newest = rows.order_by(col(Run.created_at).desc(), col(Run.id).desc())
    return list(session.exec(newest.limit(limit)))


def get(session: Session, key: str) -> tuple[Run, str]:
    """One run, with its host's name.

    :param key: its id, or as many of the id's first characters as tell it from all others.
    :raises Invalid: when that can't be the beginning of an id.
    :raises NotFound: when no run has it; Conflict when several do.
    """
    digits = key.strip().lower().replace("-", "")
    if not re.fullmatch(r"[0-9a-f]{4,32}", digits):
        raise Invalid("a run is named by four or more of its id's first characters", field="run")
    first, last = UUID(digits.ljust(32, "0")), UUID(digits.ljust(32, "f"))
    rows = select(Run, Host.name).join(Host, col(Host.id) == col(Run.host_id))
    found = session.exec(rows.where(Run.id >= first, Run.id <= last).limit(2)).all()
    if not found:
        raise NotFound(f"there is no run {key}")
    if len(found) > 1:
        raise Conflict(f"several runs begin with {key}")
    return found[0]


def prune(session: Session, kept: int) -> None:
    """Forget all but the newest ``kept`` runs of each host."""
    newest = func.row_number().over(
        partition_by=col(Run.host_id), order_by=(col(Run.created_at).desc(), col(Run.id).desc())
    )
    ranked = select(Run.id, newest.label("rank")).subquery()
    surplus = select(ranked.c.id).where(ranked.c.rank > kept)
    session.exec(delete(Run).where(col(Run.id).in_(surplus)))
