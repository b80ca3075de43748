"""Zones of domains that we bought: made on the managed name server, and filled by publication."""

from uuid import UUID

from sqlalchemy import Engine
from sqlmodel import select

from orchestrator.db import reading, writing
from orchestrator.dns.zones import serves
from orchestrator.errors import ConfigurationError, Conflict, OrchestratorError
from orchestrator.hosts.errors import HostError
from orchestrator.hosts.knot import Knot
from orchestrator.hosts.ssh import SshTarget
from orchestrator.models import Domain, Workspace, Zone, utcnow
from orchestrator.secrets import Vault
from orchestrator.services import zones
from orchestrator.settings import Settings


class ZoneTrouble(OrchestratorError):  # noqa: N818 - named for the state it reports
    """The name server could not be given a zone, or rid of it; it is tried again."""


class ZoneHosting:
    """The name server of the settings.

    :raises ConfigurationError: when its settings are incomplete.
    """

    def __init__(self, engine: Engine, settings: Settings, vault: Vault) -> None:
        needed = {
            "nameservers": settings.nameservers,
            "zone_host_key": settings.zone_host_key,
            "zone_tsig_name": settings.zone_tsig_name,
            "zone_tsig_secret_file": settings.zone_tsig_secret_file,
        }
        missing = [name for name, value in needed.items() if not value]
        if missing:
            raise ConfigurationError(f"zone_server also needs {', '.join(missing)}")
        self._engine = engine
        self._settings = settings
        self._vault = vault
        self._knot = Knot(
            SshTarget(
                name="zone server",
                address=settings.zone_server,
                port=settings.zone_ssh_port,
                user=settings.zone_ssh_user,
                host_key=settings.zone_host_key,
                key_file=settings.ssh_key_file,
                connect_timeout=settings.ssh_connect_timeout,
                command_timeout=settings.ssh_command_timeout,
            ),
            command=settings.zone_command,
            template=settings.zone_template,
        )

    def ensure(self, name: str, workspace_id: UUID) -> None:
        """See that the server answers for the zone, and that we publish the workspace's records.

        :raises ZoneTrouble: when either is not to be had now.
        """
        settings = self._settings
        with reading(self._engine) as session:
            row = session.exec(select(Zone).where(Zone.name == name)).first()
        if row is not None and row.workspace_id != workspace_id:
            raise ZoneTrouble(f"the zone {name} is known already, and not this workspace's")
        if not self._served(name):
            try:
                self._knot.add(
                    name,
                    nameservers=settings.nameservers,
                    hostmaster=f"hostmaster.{settings.fleet_domain}",
                    ttl=settings.record_ttl,
                )
            except HostError as error:
                raise ZoneTrouble(f"the zone {name} can't be made: {error}") from None
            if not self._served(name):
                raise ZoneTrouble(f"{settings.zone_server} does not answer for {name} yet")
        if row is None:
            self._manage(name, workspace_id)

    def remove(self, name: str, workspace_id: UUID) -> None:
        """Take the zone of a domain that was deleted from the server; one of others stays.

        :raises ZoneTrouble: when the server can't be reached or refuses.
        """
        with reading(self._engine) as session:
            row = session.exec(select(Zone).where(Zone.name == name)).first()
        if row is None or row.workspace_id != workspace_id:
            return
        try:
            self._knot.remove(name)
        except HostError as error:
            raise ZoneTrouble(f"the zone {name} can't be removed: {error}") from None
        with writing(self._engine) as session:
            zones.remove(session, name)

    def close(self) -> None:
        """Let go of the connection to the server."""
        self._knot.close()

    def _served(self, name: str) -> bool:
        settings = self._settings
        return serves(settings.zone_server, settings.zone_port, name, settings.dns_timeout)

    def _manage(self, name: str, workspace_id: UUID) -> None:
        settings = self._settings
        try:
            secret = settings.secret("zone_tsig_secret_file")
        except ConfigurationError as error:
            raise ZoneTrouble(str(error)) from None
        try:
            with writing(self._engine) as session:
                zones.add(
                    session,
                    self._vault,
                    name=name,
                    workspace=session.get_one(Workspace, workspace_id),
                    server=settings.zone_server,
                    port=settings.zone_port,
                    tsig_name=settings.zone_tsig_name,
                    tsig_algorithm=settings.zone_tsig_algorithm,
                    tsig_secret=secret,
                )
                # Its records are published with the next look, which is now.
                mine = select(Domain).where(Domain.name == name)
                for domain in session.exec(mine.where(Domain.workspace_id == workspace_id)):
                    domain.dns_due_at = utcnow()
        except Conflict:
            raise ZoneTrouble(f"the zone {name} is known already") from None
