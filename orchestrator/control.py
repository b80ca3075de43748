"""The control plane put together: all that one process needs to make hosts converge."""

import logging
from types import TracebackType
from typing import Self

from sqlalchemy import Engine

from orchestrator import payments
from orchestrator.dns import resolver
from orchestrator.fleet import Fleet
from orchestrator.mail.receiver import ProbeReceiver
from orchestrator.reconciler import Reconciler
from orchestrator.registrars import configured as registrar
from orchestrator.secrets import Vault
from orchestrator.settings import Settings
from orchestrator.work.egress import Egress
from orchestrator.work.leaving import Leaving
from orchestrator.work.mover import Mover
from orchestrator.work.postman import Postman
from orchestrator.work.proofs import Proofs
from orchestrator.work.publication import Publication
from orchestrator.work.purchases import Purchases
from orchestrator.work.renewals import Renewals
from orchestrator.work.reputation import Reputation
from orchestrator.work.rollouts import Rollouts
from orchestrator.work.zone_hosting import ZoneHosting

log = logging.getLogger(__name__)


class ControlPlane:
    """A context manager; inside it, its parts (``reconciler``, ``proofs`` …) are at work.

    :raises ConfigurationError: when the certificate authority can't be used.
    """

    def __init__(self, engine: Engine, settings: Settings, vault: Vault) -> None:
        self.engine = engine
        self.settings = settings
        self.vault = vault
        self.resolver = resolver.configured(settings)
        self.fleet = Fleet(settings, vault)
        self.reconciler = Reconciler(engine, settings, vault, self.fleet)
        self.publication = Publication(engine, settings, vault)
        self.proofs = Proofs(engine, settings, self.publication, self.resolver)
        self.reputation = Reputation(engine, settings, self.resolver)
        self.egress = Egress(engine, settings, self.fleet)
        self.mover = Mover(engine, settings, self.fleet)
        self.leaving = Leaving(engine, self.fleet)
        self.renewals = Renewals(engine, settings, vault, self.resolver)
        self.payments = payments.from_settings(engine, settings)
        self._zones = ZoneHosting(engine, settings, vault) if settings.zone_server else None
        self.purchases = Purchases(engine, settings, registrar.configured(settings), self._zones)
        self.rollouts = Rollouts(engine, settings)
        self.postman = Postman(engine, settings, vault)
        self._receiver: ProbeReceiver | None = None

    def receive_probes(self) -> bool:
        """Listen for egress probes; False where another process of ours does already."""
        if not self.settings.probe_listen:
            return False
        listen = [(address, self.settings.probe_port) for address in self.settings.probe_listen]
        receiver = ProbeReceiver(
            listen, self.settings.probe_domain, self.egress.arrived, self.resolver
        )
        try:
            receiver.start()
        except OSError as error:
            log.info("no receiver for egress probes here: %s", error)
            return False
        self._receiver = receiver
        return True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._receiver is not None:
            self._receiver.stop()
        self.postman.close()
        if self._zones is not None:
            self._zones.close()
        self.reconciler.close()
        self.fleet.close()
