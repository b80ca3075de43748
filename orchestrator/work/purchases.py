"""Buys domains, keeps them, and gives each its zone.

Every look asks the registrar what the name is before anything is bought: whoever died between
the registrar's answer and our commit finds the name held by us, and buys no second time.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import Engine
from sqlmodel import Session

from orchestrator.backoff import delay
from orchestrator.db import reading, writing
from orchestrator.errors import Invalid, NotFound
from orchestrator.models import Registration, RegistrationState, utcnow
from orchestrator.registrars.registrar import (
    Held,
    Notice,
    Registrar,
    RegistrarAway,
    RegistrarRefusal,
    Standing,
)
from orchestrator.services import registrations
from orchestrator.settings import RegistrarKind, Settings
from orchestrator.work.zone_hosting import ZoneHosting, ZoneTrouble

log = logging.getLogger(__name__)

#: A name that was made longer before we asked for it was somebody's already; clocks differ.
SLACK = timedelta(hours=1)


@dataclass(frozen=True)
class _Wish:
    """A registration as it was read, and whether a tenant wants its domain still."""

    row: Registration
    wanted: bool


class Purchases:
    """Carries registrations on. ``registrar`` None leaves them as they are."""

    def __init__(
        self,
        engine: Engine,
        settings: Settings,
        registrar: Registrar | None,
        zones: ZoneHosting | None,
    ) -> None:
        self._engine = engine
        self._settings = settings
        self._registrar = registrar
        self._zones = zones

    def advance(self, registration_id: UUID) -> None:
        """Take one registration as far as it goes now."""
        with reading(self._engine) as session:
            row = session.get(Registration, registration_id)
            if row is None or row.state is RegistrationState.FAILED or self._registrar is None:
                return
            wish = _Wish(row, registrations.domain_of(session, row) is not None)
        try:
            self._advance(self._registrar, wish)
        except (RegistrarAway, RegistrarRefusal, ZoneTrouble) as error:
            self._retry(registration_id, str(error))

    def _advance(self, registrar: Registrar, wish: _Wish) -> None:
        row = wish.row
        if row.state is RegistrationState.REGISTERED:
            self._keep(registrar, wish)
        else:
            self._buy(registrar, wish)

    def _buy(self, registrar: Registrar, wish: _Wish) -> None:
        row, interval = wish.row, self._settings.registrar_interval
        seen = registrar.info(row.name)
        refused = ""
        if seen is Standing.FREE and row.state is RegistrationState.REQUESTED:
            if not wish.wanted:
                self._write(row.id, _fail("the domain was deleted before it was bought"))
                return
            try:
                registrar.register(
                    row.name,
                    years=row.years,
                    nameservers=self._settings.nameservers,
                    reference=row.reference,
                )
            except RegistrarRefusal as error:
                refused = str(error)
            seen = registrar.info(row.name)
        match seen:
            case Standing.PENDING:
                text = "the registrar is at it"
                self._write(row.id, lambda s, r: registrations.pending(s, r, interval, text))
            case Standing.FREE if refused:
                self._write(row.id, _fail(refused))
            case Standing.FREE:
                text = "the registrar does not show it: its word is waited for"
                self._write(row.id, lambda s, r: registrations.put_off(s, r, interval, text))
            case Held(ours=True) as held if held.created_at >= row.created_at - SLACK:
                # What is to be done for a name of ours comes with the next look, at once.
                end = held.expires_at
                self._write(row.id, lambda s, r: registrations.registered(s, r, end, 0))
            case _:
                self._write(row.id, _fail(refused or f"{row.name} is somebody else's"))

    def _keep(self, registrar: Registrar, wish: _Wish) -> None:
        row, settings = wish.row, self._settings
        assert row.expires_at is not None
        end, servers = row.expires_at, settings.nameservers
        # A person tells by hand when it ends, and to whom it is delegated.
        if settings.registrar is not RegistrarKind.MANUAL:
            held = registrar.info(row.name)
            if not (isinstance(held, Held) and held.ours):
                self._write(row.id, _fail(f"{row.name} is no longer ours"))
                return
            end, servers = held.expires_at, held.nameservers
        if end <= utcnow():
            self._write(row.id, _fail("it has expired"))
            return
        # First of all: neither a name server nor a delegation may cost us the name.
        end, reason = self._renewed(registrar, wish, end)

        def kept(session: Session, current: Registration) -> None:
            registrations.registered(session, current, end, settings.registrar_interval)
            current.reason = reason

        self._write(row.id, kept)
        wanted = settings.nameservers
        if wish.wanted and wanted and set(servers) != set(wanted):
            registrar.set_nameservers(row.name, before=servers, wanted=wanted)
        if self._zones is not None:
            (self._zones.ensure if wish.wanted else self._zones.remove)(row.name, row.workspace_id)

    def _renewed(self, registrar: Registrar, wish: _Wish, end: datetime) -> tuple[datetime, str]:
        """When the name ends now, and why it was not renewed where it should have been."""
        if not wish.wanted or end - timedelta(days=self._settings.renewal_days) > utcnow():
            return end, ""
        name = wish.row.name
        try:
            return registrar.renew(name, expires_at=end, years=wish.row.years), ""
        except RegistrarRefusal as error:
            log.warning("%s is not renewed: %s", name, error)
            return end, f"not renewed: {error}"

    def _retry(self, registration_id: UUID, why: str) -> None:
        def later(session: Session, row: Registration) -> None:
            row.failures += 1
            registrations.put_off(session, row, delay(row.failures), why)

        log.warning("a registration waits: %s", why)
        self._write(registration_id, later)

    def _write(
        self, registration_id: UUID, change: Callable[[Session, Registration], None]
    ) -> None:
        with writing(self._engine) as session:
            row = session.get(Registration, registration_id, with_for_update=True)
            if row is not None and row.state is not RegistrationState.FAILED:
                change(session, row)

    def read_notices(self) -> None:
        """Take in what the registrar has to say about requests that it took its time for."""
        if self._registrar is not None:
            try:
                self._registrar.notices(self._take_in)
            except (RegistrarAway, RegistrarRefusal) as error:
                log.warning("the registrar's messages can't be read: %s", error)

    def _take_in(self, notice: Notice) -> None:
        with writing(self._engine) as session:
            try:
                row = registrations.get(session, notice.name)
            except (NotFound, Invalid):
                return
            if row.state is not RegistrationState.REGISTERING:
                return
            if notice.granted:
                row.due_at = utcnow()
            else:
                registrations.failed(session, row, notice.reason)


def _fail(why: str) -> Callable[[Session, Registration], None]:
    return lambda session, row: registrations.failed(session, row, why)
