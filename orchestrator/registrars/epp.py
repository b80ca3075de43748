"""A registry or registrar that speaks EPP (RFC 5730, 5731, 5734). A session for each call.

Written anew: the clients on the package index are unmaintained, or under the GPL and build XML
from text templates.
"""

import secrets
from collections.abc import Callable, Sequence
from datetime import datetime

from orchestrator.registrars import eppxml
from orchestrator.registrars.eppwire import Account, Session, reference
from orchestrator.registrars.registrar import Held, Notice, RegistrarAway, Standing

#: "Object does not exist" (RFC 5730 section 3).
ABSENT = 2303
#: "No messages".
QUEUE_EMPTY = 1300
#: Messages that are read in one call.
NOTICES = 100
_TRUE = frozenset({"1", "true"})


class Epp:
    """The driver.

    :param registrant: the registry's handle of the contact who holds the names; may be empty.
    :param contacts: kinds (``admin``, ``tech``, ``billing``) with their handles.
    """

    def __init__(
        self, account: Account, *, registrant: str, contacts: Sequence[tuple[str, str]]
    ) -> None:
        self._account = account
        self._registrant = registrant
        self._contacts = tuple(contacts)

    def check(self, name: str) -> bool:
        """See ``Registrar``."""
        with Session(self._account) as session:
            response = session.send(eppxml.check(name, reference()))
        names = response.all("domain:chkData/domain:cd/domain:name")
        if len(names) != 1:
            raise RegistrarAway(f"the registrar doesn't tell of {name}")
        return names[0].get("avail", "") in _TRUE

    def info(self, name: str) -> Held | Standing:
        """See ``Registrar``."""
        with Session(self._account) as session:
            response = session.send(eppxml.info(name, reference()), accept=frozenset({ABSENT}))
        if response.code == ABSENT:
            return Standing.FREE
        ours = response.text("domain:infData/domain:clID") == self._account.client_id
        states = {node.get("s") for node in response.all("domain:infData/domain:status")}
        if ours and "pendingCreate" in states:
            return Standing.PENDING
        servers = response.all("domain:infData/domain:ns/domain:hostObj")
        return Held(
            ours=ours,
            created_at=response.moment("domain:infData/domain:crDate"),
            expires_at=response.moment("domain:infData/domain:exDate"),
            nameservers=tuple(sorted((node.text or "").strip().lower() for node in servers)),
        )

    def register(
        self, name: str, *, years: int, nameservers: Sequence[str], reference: str
    ) -> None:
        """See ``Registrar``."""
        command = eppxml.create(
            name,
            reference,
            years=years,
            nameservers=nameservers,
            registrant=self._registrant,
            contacts=self._contacts,
            # Only a transfer away needs it; then another is set. Registries ask for a mixture.
            password=f"{secrets.token_urlsafe(9)}aA1!",
        )
        with Session(self._account) as session:
            session.send(command)

    def renew(self, name: str, *, expires_at: datetime, years: int) -> datetime:
        """See ``Registrar``."""
        command = eppxml.renew(name, reference(), expires_at=expires_at, years=years)
        with Session(self._account) as session:
            response = session.send(command)
        return response.moment("domain:renData/domain:exDate")

    def set_nameservers(self, name: str, *, before: Sequence[str], wanted: Sequence[str]) -> None:
        """See ``Registrar``."""
        add = [server for server in wanted if server not in before]
        remove = [server for server in before if server not in wanted]
        with Session(self._account) as session:
            session.send(eppxml.update(name, reference(), add=add, remove=remove))

    def notices(self, handle: Callable[[Notice], None]) -> None:
        """See ``Registrar``. Messages of other kinds are taken off the queue unread."""
        with Session(self._account) as session:
            for _ in range(NOTICES):
                response = session.send(eppxml.poll(reference()))
                queued = response.all("epp:msgQ")
                if response.code == QUEUE_EMPTY or not queued:
                    return
                for node in response.all("domain:panData/domain:name"):
                    granted = node.get("paResult", "") in _TRUE
                    text = response.text("epp:msgQ/epp:msg")
                    handle(Notice((node.text or "").strip().lower(), granted, text))
                session.send(eppxml.poll(reference(), queued[0].get("id", "")))
