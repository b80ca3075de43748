"""What an operator does by hand: settle one host now, look at everything now."""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from uuid import UUID

from sqlmodel import col, select

from orchestrator.conditions import Reason
from orchestrator.control import ControlPlane
from orchestrator.db import reading
from orchestrator.models import Address, Domain
from orchestrator.results import Result

THREADS = 16
#: Seconds between two looks at something that another process is at work on.
PAUSE = 0.25


def settle(control: ControlPlane, host_id: UUID, *, allow_removals: bool = False) -> Result:
    """Reconcile one host, waiting for another pass over it to end first.

    :param allow_removals: see ``Reconciler.reconcile``.
    """
    work = partial(control.reconciler.reconcile, host_id, allow_removals=allow_removals)
    return _once_free(control, work)


def roll_back(control: ControlPlane, host_id: UUID, generation: int) -> Result:
    """Put an earlier generation into force, waiting for another pass over the host to end first.

    See ``Reconciler.roll_back``.
    """
    return _once_free(control, partial(control.reconciler.roll_back, host_id, generation))


def _once_free(control: ControlPlane, work: Callable[[], Result]) -> Result:
    deadline = time.monotonic() + control.settings.apply_timeout
    while True:
        result = work()
        if result.reason is not Reason.BUSY or time.monotonic() > deadline:
            return result
        time.sleep(PAUSE)


def verify(control: ControlPlane, hosts: Sequence[UUID]) -> None:
    """Look at hosts, names, domains and egress now, and write down what is seen."""
    with reading(control.engine) as session:
        domains = session.exec(select(Domain.id).where(col(Domain.deleted_at).is_(None))).all()
        addresses = session.exec(select(Address.id)).all()
    _all(control.reconciler.observe, hosts)
    _all(control.renewals.judge, hosts)
    _all(control.proofs.check_host_names, hosts)
    _all(control.reputation.check, addresses)
    _all(control.proofs.check_domain, domains)
    _all(control.egress.send, addresses)
    deadline = time.monotonic() + control.settings.egress_timeout
    while control.egress.waiting() and time.monotonic() < deadline:
        time.sleep(PAUSE)
    control.egress.expire()


def _all(work: Callable[[UUID], object], subjects: Sequence[UUID]) -> None:
    with ThreadPoolExecutor(THREADS) as threads:
        list(threads.map(work, subjects))
