"""Reputation: which addresses may be given to tenants, and which are kept from them.

An address comes into the pool once its PTR was confirmed and no blocklist lists it. One that is
listed leaves it for the quarantine; one that a tenant has serves on, and is told of.
"""

from collections.abc import Sequence
from datetime import timedelta
from uuid import UUID

from sqlmodel import Session, col, update

from orchestrator.conditions import Reason, Status, Type
from orchestrator.dns.dnsbl import Listing
from orchestrator.dns.dnsbl import Verdict as Word
from orchestrator.dns.judgement import Observation
from orchestrator.errors import Conflict
from orchestrator.models import Address, AddressEventKind, AddressState, Host, utcnow
from orchestrator.services import conditions, history, validation
from orchestrator.services.conditions import Verdict
from orchestrator.services.wake import wake
from orchestrator.settings import Settings

#: A listing of one of these takes it out of the pool at once.
_IDLE = (AddressState.NEW, AddressState.FREE)


def locked(session: Session, address_id: UUID) -> Address | None:
    """The address, that nobody else changes before this transaction ends."""
    return session.get(Address, address_id, with_for_update=True, populate_existing=True)


def observe_ptr(session: Session, address: Address, seen: Observation) -> None:
    """Write down what was seen of an address's PTR; a time-out changes nothing."""
    held = conditions.get_all(session, [address.id]).get((address.id, Type.PTR_CONFIRMED))
    known = held.known if held else None
    verdict = (seen.status, seen.reason, seen.message)
    conditions.set_(session, address.id, Type.PTR_CONFIRMED, *verdict)
    if seen.status in (Status.UNKNOWN, known):
        return
    if seen.status is Status.TRUE:
        history.note(session, address, AddressEventKind.PTR_SEEN, address.ptr_name)
    elif known is Status.TRUE:
        lost = seen.reason is Reason.MISSING
        kind = AddressEventKind.PTR_LOST if lost else AddressEventKind.PTR_CHANGED
        history.note(session, address, kind, seen.message)


def too_early(session: Session, address: Address) -> bool:
    """Whether blocklists aren't bothered with it yet: a new address without its PTR."""
    return address.state is AddressState.NEW and not _ptr_confirmed(session, address)


def put_off(session: Session, settings: Settings, address_id: UUID) -> None:
    """Look at an address again when its PTR may have been seen."""
    due = utcnow() + timedelta(seconds=settings.dns_interval)
    row = update(Address).where(col(Address.id) == address_id)
    session.exec(row.values(reputation_due_at=due))


def observe(
    session: Session, settings: Settings, address: Address, listings: Sequence[Listing]
) -> None:
    """Write down what the blocklists say of a locked address, and do what follows from it.

    A list that could not be asked changes nothing: what it said before still holds.
    """
    now = utcnow()
    said = {listing.zone: listing for listing in listings}
    before = set(address.reputation_flags or ())
    silent = {zone for zone, listing in said.items() if listing.verdict is Word.UNKNOWN}
    listed = {zone for zone, listing in said.items() if listing.verdict is Word.LISTED}
    flags = listed | (before & silent)
    for zone in sorted(flags - before):
        history.note(session, address, AddressEventKind.LISTED, said[zone].detail)
    for zone in sorted(before - flags):
        history.note(session, address, AddressEventKind.DELISTED, zone)
    address.reputation_flags = sorted(flags) or None
    if len(silent) < len(said):
        address.reputation_at = now
    conditions.set_(session, address.id, Type.NOT_LISTED, *_verdict(said, flags, silent))
    address.reputation_due_at = now + timedelta(seconds=settings.reputation_interval)
    if flags:
        address.delisted_at = None
        if address.state in _IDLE:
            _quarantine(session, address, "; ".join(_details(said, flags)), by_hand=False)
    elif not silent:
        _clean(session, settings, address)
    if flags != before and address.state is AddressState.ASSIGNED:
        _tell_mta(session, address)


def _tell_mta(session: Session, address: Address) -> None:
    """Which addresses a cluster sends from depends on it. Last: hosts are locked after the rest."""
    host = session.get_one(Host, address.host_id)
    if host.cluster_id is not None:
        wake(session, [host.id])


def _verdict(said: dict[str, Listing], flags: set[str], silent: set[str]) -> Verdict:
    if flags:
        return Status.FALSE, Reason.LISTED, "; ".join(_details(said, flags))
    if silent:
        return Status.UNKNOWN, Reason.RESOLVER_FAILED, "; ".join(_details(said, silent))
    text = "; ".join(listing.detail for listing in said.values())
    return Status.TRUE, Reason.OBSERVED, text or "no blocklist is configured (dnsbl_zones)"


def _details(said: dict[str, Listing], zones: set[str]) -> list[str]:
    return [said[zone].detail for zone in sorted(zones)]


def _clean(session: Session, settings: Settings, address: Address) -> None:
    """No list lists the address, and all of them said so or are ignored."""
    now = utcnow()
    if address.state is AddressState.QUARANTINED and not address.quarantined_by_hand:
        address.delisted_at = address.delisted_at or now
        end = address.delisted_at + timedelta(seconds=settings.quarantine_seconds)
        if end > now:
            address.reputation_due_at = min(address.reputation_due_at, end)
        else:
            _unquarantine(session, address, "delisted long enough")
    if address.state is AddressState.NEW and _ptr_confirmed(session, address):
        address.state = AddressState.FREE
        history.note(session, address, AddressEventKind.CHECKED, "its PTR stands, no list has it")


def _ptr_confirmed(session: Session, address: Address) -> bool:
    held = conditions.get_all(session, [address.id]).get((address.id, Type.PTR_CONFIRMED))
    return held is not None and held.known is Status.TRUE


def quarantine(session: Session, address: Address, reason: str) -> None:
    """Keep an address from tenants until an operator lets it go.

    :param reason: a line for those who wonder.
    :raises Conflict: when a tenant has it.
    """
    reason = validation.display_name(reason, field="reason")
    if address.state is AddressState.ASSIGNED:
        raise Conflict(f"{address.ip} is a tenant's: release it, or move its mail away first")
    _quarantine(session, address, reason, by_hand=True)


def _quarantine(session: Session, address: Address, reason: str, *, by_hand: bool) -> None:
    address.state = AddressState.QUARANTINED
    address.quarantine_reason = reason
    address.quarantined_by_hand = by_hand
    address.delisted_at = None
    history.note(session, address, AddressEventKind.QUARANTINED, reason)


def release(session: Session, address: Address) -> None:
    """Let an address out of the quarantine; it is looked at before it is free, as a new one.

    :raises Conflict: when it is not there.
    """
    if address.state is not AddressState.QUARANTINED:
        raise Conflict(f"{address.ip} is not quarantined")
    _unquarantine(session, address, "by hand")


def _unquarantine(session: Session, address: Address, why: str) -> None:
    # One that was released by a tenant and has not rested yet goes on resting.
    resting = address.released_at is not None
    address.state = AddressState.COOLDOWN if resting else AddressState.NEW
    address.quarantine_reason = ""
    address.quarantined_by_hand = False
    address.delisted_at = None
    address.reputation_due_at = utcnow()
    history.note(session, address, AddressEventKind.UNQUARANTINED, why)


def after_rest(session: Session, address: Address) -> None:
    """A released address has cooled down: it is free, unless a blocklist lists it."""
    address.allocated_at = None
    address.released_at = None
    address.state = AddressState.FREE
    history.note(session, address, AddressEventKind.COOLED_DOWN)
    if address.reputation_flags:
        listed = f"listed by {', '.join(address.reputation_flags)}"
        _quarantine(session, address, listed, by_hand=False)
