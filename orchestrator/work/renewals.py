"""Gets hosts' certificates from where the settings say, ahead of their expiry.

Orders at a CA take seconds to minutes: they run beside the passes, a few at a time, and hold
no session and no lease. A pass finds the outcome in the database.
"""

import logging
import threading
from datetime import timedelta
from uuid import UUID

from sqlalchemy import Engine

from orchestrator.backoff import delay
from orchestrator.db import reading, writing
from orchestrator.dns.publishing import ZoneKey
from orchestrator.dns.resolver import Resolver
from orchestrator.errors import ConfigurationError, Conflict
from orchestrator.issuers.acme import Acme, new_account_key
from orchestrator.issuers.challenges import Challenges
from orchestrator.issuers.files import Files
from orchestrator.issuers.issued import IssuanceError, Issued, Issuer
from orchestrator.models import Host, utcnow
from orchestrator.secrets import Vault
from orchestrator.services import certificates, issuances, zones
from orchestrator.settings import CertificateSource, Settings

log = logging.getLogger(__name__)

#: Orders at a time, so that a slow CA takes no thread that a pass needs.
AT_ONCE = 4
#: Longest wait, in seconds, between two tries at a CA, and at its own request.
LONGEST_BACKOFF = 86400.0
LONGEST_REQUESTED = 7 * 86400.0


class Renewals:
    """Sees to the certificates of hosts.

    :raises ConfigurationError: when the source lacks a setting.
    """

    def __init__(
        self, engine: Engine, settings: Settings, vault: Vault, resolver: Resolver
    ) -> None:
        self._engine = engine
        self._settings = settings
        self._vault = vault
        self._source = settings.certificate_source
        self._issuer = self._make_issuer(resolver)
        self._free = AT_ONCE
        self._lock = threading.Lock()

    @property
    def free(self) -> int:
        """How many more hosts may be taken up now."""
        with self._lock:
            return self._free

    def check(self, host_id: UUID) -> None:
        """Get the host a new certificate if it is due and one is wanted."""
        with self._lock:
            self._free -= 1
        try:
            self._check(host_id)
        finally:
            with self._lock:
                self._free += 1

    def judge(self, host_id: UUID) -> None:
        """Write down how it stands with the host's certificate; gets none."""
        with writing(self._engine) as session:
            host = session.get(Host, host_id)
            if host is not None:
                certificates.judge(session, self._source, host, utcnow())

    def _check(self, host_id: UUID) -> None:
        with writing(self._engine) as session:
            task = issuances.take(session, self._source, host_id, utcnow())
        if task is None:
            return
        issued: Issued | None = None
        try:
            if task.wanted and self._issuer is not None:
                issued = self._issuer.issue(task.names)
        except IssuanceError as error:
            log.warning("no certificate for %s: %s: %s", task.names[0], error.reason, error)
            wait = self._wait(task, error)
            with writing(self._engine) as session:
                issuances.failed(session, self._source, task, error, wait=wait, now=utcnow())
            return
        with writing(self._engine) as session:
            issuances.done(session, self._vault, self._source, task, issued, now=utcnow())

    def _wait(self, task: issuances.Task, error: IssuanceError) -> timedelta:
        if self._source is CertificateSource.FILES:
            return issuances.FILES
        ours = delay(task.failures + 1, self._settings.acme_retry, LONGEST_BACKOFF)
        return timedelta(seconds=max(ours, min(error.retry_after, LONGEST_REQUESTED)))

    def _make_issuer(self, resolver: Resolver) -> Issuer | None:
        settings = self._settings
        match self._source:
            case CertificateSource.AUTHORITY:
                return None  # it signs within the passes: it needs nobody's answer
            case CertificateSource.FILES:
                return Files(settings.certificate_directory)
            case CertificateSource.ACME:
                if not settings.acme_directory_url.startswith("https://"):
                    raise ConfigurationError("acme_directory_url is not an https:// URL")
                return Acme(
                    settings.acme_directory_url,
                    settings.acme_email,
                    settings.acme_ca_file,
                    self._account_key,
                    Challenges(self._zone_of, resolver, settings.dns_timeout),
                )

    def _zone_of(self, name: str) -> ZoneKey | None:
        with reading(self._engine) as session:
            return zones.key(session, self._vault, name, None)

    def _account_key(self) -> str:
        url, made = self._settings.acme_directory_url, new_account_key()
        try:
            with writing(self._engine) as session:
                return issuances.account_key(session, self._vault, url, made)
        except Conflict:
            with reading(self._engine) as session:
                return issuances.account_key(session, self._vault, url, made)
