"""Asks the blocklists about dedicated IPs, and looks at their PTRs where an operator asks."""

from uuid import UUID

from sqlalchemy import Engine

from orchestrator.db import reading, writing
from orchestrator.dns import dnsbl
from orchestrator.dns.resolver import Resolver
from orchestrator.dns.verification import verify_ptr
from orchestrator.models import Address
from orchestrator.services import reputation
from orchestrator.settings import Settings


class Reputation:
    """Looks without a transaction, then writes down what was seen."""

    def __init__(self, engine: Engine, settings: Settings, resolver: Resolver) -> None:
        self._engine = engine
        self._settings = settings
        self._resolver = resolver

    def check(self, address_id: UUID) -> None:
        """Ask the blocklists about one address."""
        self._look(address_id, ptr=False)

    def check_all(self, address_id: UUID) -> None:
        """Look at its PTR as well, and ask the blocklists."""
        self._look(address_id, ptr=True)

    def _look(self, address_id: UUID, *, ptr: bool) -> None:
        with reading(self._engine) as session:
            address = session.get(Address, address_id)
            if address is None:
                return
            ip, name = address.ip, address.ptr_name
            early = not ptr and reputation.too_early(session, address)
        if early:
            with writing(self._engine) as session:
                reputation.put_off(session, self._settings, address_id)
            return
        seen = verify_ptr(self._resolver, ip, name) if ptr else None
        listings = dnsbl.look(self._resolver, self._settings.dnsbl_zones, ip)
        with writing(self._engine) as session:
            address = reputation.locked(session, address_id)
            if address is None:
                return
            if seen is not None:
                reputation.observe_ptr(session, address, seen)
            reputation.observe(session, self._settings, address, listings)
