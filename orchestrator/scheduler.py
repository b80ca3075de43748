"""The loop: what is due is handed to threads, so that a dead host never delays another."""

import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Event, Lock
from uuid import UUID

from apscheduler.schedulers.background import BackgroundScheduler
from sqlalchemy import Engine
from sqlmodel import Session, col, select

from orchestrator.db import reading, writing
from orchestrator.egress import Egress
from orchestrator.models import Address, Domain, Host, utcnow
from orchestrator.proofs import Proofs
from orchestrator.reconciler import Reconciler, Result
from orchestrator.services import addresses, purge
from orchestrator.settings import Settings

log = logging.getLogger(__name__)

#: Seconds between two looks at what is due: the longest that a committed change waits.
TICK = 0.25
#: How long a subject rests after a defect of ours.
DEFECT_SECONDS = 30.0
THREADS = 16


class Scheduler:
    """Runs everything that is due, until it is closed.

    :param on_result: told of every pass over a host.
    """

    def __init__(
        self,
        engine: Engine,
        settings: Settings,
        *,
        reconciler: Reconciler,
        proofs: Proofs,
        egress: Egress,
        on_result: Callable[[Result], None],
    ) -> None:
        self._engine = engine
        self._settings = settings
        self._reconciler = reconciler
        self._proofs = proofs
        self._egress = egress
        self._on_result = on_result
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="pass")
        self._busy: set[tuple[str, UUID]] = set()
        self._lock = Lock()
        self._closed = Event()
        self._jobs = BackgroundScheduler(
            timezone="UTC", job_defaults={"max_instances": 1, "coalesce": True}
        )
        self._jobs.add_job(self._tick, "interval", seconds=TICK, id="tick")
        self._jobs.add_job(egress.expire, "interval", seconds=5, id="expire probes")
        self._jobs.add_job(self._tidy, "interval", seconds=60, id="tidy")

    def start(self) -> None:
        """Begin; returns at once."""
        self._jobs.start()

    def close(self) -> None:
        """Stop taking up work and wait for what is under way."""
        self._closed.set()
        self._jobs.shutdown(wait=True)
        self._threads.shutdown(wait=True)

    def _tick(self) -> None:
        with reading(self._engine) as session:
            due = _due(session)
        for kind, subject in due:
            self._submit(kind, subject)

    def _submit(self, kind: str, subject: UUID) -> None:
        with self._lock:
            if (kind, subject) in self._busy:
                return
            self._busy.add((kind, subject))
        self._threads.submit(self._run, kind, subject)

    def _run(self, kind: str, subject: UUID) -> None:
        try:
            match kind:
                case "host":
                    self._on_result(self._reconciler.reconcile(subject))
                case "names":
                    self._proofs.check_host_names(subject)
                case "domain":
                    self._proofs.check_domain(subject)
                case "egress":
                    self._egress.send(subject)
        except Exception:
            # One subject's defect must not end the loop for the others, nor spin.
            log.exception("a pass over %s %s failed", kind, subject)
            self._closed.wait(DEFECT_SECONDS)
        finally:
            with self._lock:
                self._busy.discard((kind, subject))

    def _tidy(self) -> None:
        with writing(self._engine) as session:
            addresses.end_cooldowns(session, utcnow(), self._settings.cooldown_seconds)
            purge.deleted(session)


def _due(session: Session) -> list[tuple[str, UUID]]:
    now = utcnow()
    unleased = col(Host.lease_until).is_(None) | (col(Host.lease_until) < now)
    running = col(Host.paused).is_(False)
    hosts = select(Host.id).where(Host.due_at <= now, unleased, running)
    names = select(Host.id).where(Host.dns_due_at <= now)
    domains = select(Domain.id).where(Domain.dns_due_at <= now, col(Domain.deleted_at).is_(None))
    egress = select(Address.id).where(Address.egress_due_at <= now)
    return [
        *(("host", key) for key in session.exec(hosts)),
        *(("names", key) for key in session.exec(names)),
        *(("domain", key) for key in session.exec(domains)),
        *(("egress", key) for key in session.exec(egress)),
    ]
