"""Lets MTAs go that leave their cluster: once none of its mail is left in their queues.

Until then a host sends on from the cluster's addresses, at its rate: what was accepted is not
sent another way, or returned, because an MTA was taken out.
"""

import logging

from sqlalchemy import Engine
from sqlmodel import Session, select

from orchestrator.db import reading, writing
from orchestrator.fleet import Fleet
from orchestrator.hosts import postqueue
from orchestrator.hosts.errors import HostError
from orchestrator.models import Domain, Host
from orchestrator.services import clusters

log = logging.getLogger(__name__)


class Leaving:
    """What one reconciler does about hosts that leave."""

    def __init__(self, engine: Engine, fleet: Fleet) -> None:
        self._engine = engine
        self._fleet = fleet

    def step(self) -> None:
        """Ask each host that leaves; one that can't tell is asked again with the next step."""
        with reading(self._engine) as session:
            asked = [(host, _domains(session, host)) for host in clusters.leaving(session)]
            session.expunge_all()
        for host, domains in asked:
            try:
                left = postqueue.sent_as(self._fleet.pool, self._fleet.target(host), domains)
            except HostError as error:
                log.info("%s can't leave its cluster yet: %s: %s", host.name, error.reason, error)
                continue
            if not left:
                self._let_go(host)

    def _let_go(self, seen: Host) -> None:
        with writing(self._engine) as session:
            row = session.get(Host, seen.id, with_for_update={"key_share": True})
            # Let go by another reconciler meanwhile, it may even leave a second time.
            if row is not None and row.leaving_since == seen.leaving_since:
                clusters.let_go(session, row)
                log.info("%s has left its cluster", seen.name)


def _domains(session: Session, host: Host) -> set[str]:
    # With those that are deleted: mail that was accepted before may still be queued.
    return set(session.exec(select(Domain.name).where(Domain.cluster_id == host.cluster_id)))
