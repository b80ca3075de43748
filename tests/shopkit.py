"""A control plane that buys domains, before a registry that speaks EPP."""

from collections.abc import Iterator
from pathlib import Path

import eppkit
import msgspec
import pytest
from sqlmodel import select
from storekit import Store

from orchestrator import db
from orchestrator.models import (
    DomainMode,
    Registration,
    Workspace,
)
from orchestrator.registrars.configured import configured
from orchestrator.services import conditions, domains, registrations, status
from orchestrator.settings import RegistrarKind, Settings
from orchestrator.work.purchases import Purchases
from orchestrator.work.zone_hosting import ZoneHosting

NAME = "new-tenant.net"
SERVERS = ("ns1.fleet.net", "ns2.fleet.net")


class Shop:
    """A control plane that buys domains."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.acme = store.workspace()
        store.pool(store.host(), "198.51.100.21", "198.51.100.22")
        store.assign(self.acme)

    def order(self, name: str = NAME, workspace: Workspace | None = None) -> None:
        store, buyer = self.store, workspace or self.acme
        registrations.offer(store.engine, configured(store.settings), buyer, name)
        with db.writing(store.engine) as session:
            domains.add(session, store.vault, store.settings, buyer, name=name, mode=DomainMode.BUY)

    def delete(self) -> None:
        with db.writing(self.store.engine) as session:
            domain = domains.get_by_name(session, self.acme, NAME)
            domains.delete(session, self.acme, domain.id)

    def look(self, zones: ZoneHosting | None = None) -> Registration:
        """Look at all, whether they are due or not."""
        made = configured(self.store.settings)
        purchases = Purchases(self.store.engine, self.store.settings, made, zones)
        purchases.read_notices()
        with db.reading(self.store.engine) as session:
            keys = session.exec(select(Registration.id).order_by(Registration.id)).all()  # type: ignore[arg-type]
        for key in keys:
            purchases.advance(key)
        with db.reading(self.store.engine) as session:
            return session.get_one(Registration, keys[-1])

    def status(self) -> str:
        with db.reading(self.store.engine) as session:
            domain = domains.get_by_name(session, self.acme, NAME)
            return status.domain_status(domain, conditions.get_all(session, [domain.id]))


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[eppkit.Registry]:
    with eppkit.serving(tmp_path) as running:
        yield running


def buying(settings: Settings, registry: eppkit.Registry, folder: Path) -> Settings:
    """The settings of one that buys from the registry; ``folder`` is that which it serves from."""
    (folder / "epp.password").write_text(eppkit.PASSWORD)
    return msgspec.structs.replace(
        settings,
        registrar=RegistrarKind.EPP,
        epp_host="127.0.0.1",
        epp_port=registry.port,
        epp_client_id=eppkit.CLIENT,
        epp_password_file=folder / "epp.password",
        epp_ca_file=folder / "server.pem",
        epp_timeout=5.0,
    )


@pytest.fixture
def shop(store: Store, registry: eppkit.Registry, tmp_path: Path) -> Shop:
    made = buying(store.settings, registry, tmp_path)
    store.settings = msgspec.structs.replace(made, nameservers=SERVERS)
    return Shop(store)
