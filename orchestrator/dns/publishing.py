"""Publishes records in managed zones by RFC 2136 updates.

Every pass reads the zone's server, computes the least change and sends one update. The values
that were read are the update's prerequisites, so somebody's concurrent edit makes the server
refuse it and the pass starts anew, instead of undoing the edit.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdata
import dns.rdataclass
import dns.rdatatype
import dns.rrset
import dns.update

from orchestrator.conditions import Reason
from orchestrator.dns.answers import text_of
from orchestrator.dns.changes import brought, goal
from orchestrator.dns.records import ExpectedRecord
from orchestrator.dns.signed import DnsUpdateError, SignedSession, ZoneKey
from orchestrator.dns.transport import Deadline
from orchestrator.dns.zones import within

__all__ = ["DnsUpdateError", "ZoneKey", "publish"]

#: How often a pass starts anew because the zone was changed under it.
_ATTEMPTS = 3
#: Prerequisites that didn't hold (RFC 2136 section 3.2).
_CHANGED = {dns.rcode.NXRRSET, dns.rcode.YXRRSET, dns.rcode.NXDOMAIN, dns.rcode.YXDOMAIN}


@dataclass(frozen=True)
class _Change:
    """One RRset: what stands there, what goes and what comes."""

    name: dns.name.Name
    rdtype: dns.rdatatype.RdataType
    before: dns.rrset.RRset | None
    delete: tuple[dns.rdata.Rdata, ...]
    add: tuple[dns.rdata.Rdata, ...]
    brings: tuple[ExpectedRecord, ...]

    def ttl(self, default: int) -> int:
        """The TTL, in seconds, of additions: that of the records that stay beside them."""
        if self.before is not None and len(self.delete) < len(self.before):
            return self.before.ttl
        return default


def publish(
    key: ZoneKey,
    records: Sequence[ExpectedRecord],
    *,
    remove: Sequence[ExpectedRecord] = (),
    announce: Callable[[Sequence[ExpectedRecord]], None] = lambda records: None,
    timeout: float = 10.0,
    ttl: int = 60,
) -> bool:
    """Make the zone hold ``records`` and no more ``remove``; ``True`` if something changed.

    What happens to which kind of record is told at ``changes.goal``. ``timeout`` is in seconds
    for the whole call; ``ttl``, in seconds, is for new RRsets (additions keep the TTL that
    stands). ``announce`` is told, before each update is sent, of the wanted records that it makes
    stand (``changes.brought``). What can be published is, before a problem with another record is
    raised.

    Raises ``DnsUpdateError``: ``NOT_MANAGED`` for a record outside the zone, ``UPDATE_REFUSED``,
    ``TSIG_REJECTED``, ``SERVER_UNREACHABLE``, and ``AMBIGUOUS`` or ``MISMATCH`` when the
    tenant's own records stand in the way.
    """
    for record in (*records, *remove):
        if not within(record.name, key.zone):
            message = f"{record.name} is not in the zone {key.zone}"
            raise DnsUpdateError(Reason.NOT_MANAGED, message)
    session = SignedSession(key, Deadline(timeout))
    for _ in range(_ATTEMPTS):
        problems: list[DnsUpdateError] = []
        changes = _changes(session, records, remove, problems)
        brings = [record for change in changes for record in change.brings]
        if brings:
            announce(brings)
        if not changes or _update(session, key.zone, changes, ttl):
            if problems:
                raise problems[0]
            return bool(changes)
    message = f"{key.zone} was changed by somebody else during each of {_ATTEMPTS} attempts"
    raise DnsUpdateError(Reason.UPDATE_REFUSED, message)


def _changes(
    session: SignedSession,
    records: Sequence[ExpectedRecord],
    remove: Sequence[ExpectedRecord],
    problems: list[DnsUpdateError],
) -> list[_Change]:
    """What differs on the server; what can't be done goes to ``problems``."""
    changes = []
    for name, kind in dict.fromkeys((r.name, r.type) for r in (*records, *remove)):
        owner, rdtype = dns.name.from_text(name), dns.rdatatype.from_text(kind)
        wanted = [r for r in records if (r.name, r.type) == (name, kind)]
        unwanted = [r for r in remove if (r.name, r.type) == (name, kind)]
        rrset, is_alias = _read(session, owner, rdtype)
        if is_alias:
            if wanted:
                # A server silently ignores an addition beside a CNAME (RFC 2136 3.4.2.2).
                message = f"{name} is a CNAME, so no {kind} record can stand there"
                problems.append(DnsUpdateError(Reason.MISMATCH, message))
            continue
        present = {rdata: text_of(rdata) for rdata in rrset or ()}
        target = goal(present.values(), wanted, unwanted)
        if target.reason is not None:
            problems.append(DnsUpdateError(target.reason, f"{name} {kind}: {target.problem}"))
        delete = tuple(rdata for rdata, text in present.items() if text not in target.values)
        new = sorted(target.values - set(present.values()))
        if delete or new:
            add = tuple(rdata_of(rdtype, text) for text in new)
            brings = tuple(brought(present.values(), target.values, wanted))
            changes.append(_Change(owner, rdtype, rrset, delete, add, brings))
    return changes


def _read(
    session: SignedSession, name: dns.name.Name, rdtype: dns.rdatatype.RdataType
) -> tuple[dns.rrset.RRset | None, bool]:
    """The RRset as it stands on the server now, and whether the name is an alias instead."""
    response = session.send(dns.message.make_query(name, rdtype, flags=dns.flags.Flag(0)))
    code = response.rcode()
    if code not in {dns.rcode.NOERROR, dns.rcode.NXDOMAIN}:
        raise session.refused("a query", code)
    if not response.flags & dns.flags.AA:
        message = f"{name} is delegated away from the zone's server, so it can't be updated there"
        raise DnsUpdateError(Reason.NOT_MANAGED, message)
    own = {rrset.rdtype: rrset for rrset in response.answer if rrset.name == name}
    return own.get(rdtype), dns.rdatatype.CNAME in own


def _update(session: SignedSession, zone: str, changes: Sequence[_Change], ttl: int) -> bool:
    """Send one update; ``False`` when something was changed since it was read."""
    message = dns.update.UpdateMessage(zone)
    for change in changes:
        if change.before is None:
            message.absent(change.name, change.rdtype)
        else:
            message.present(change.name, *change.before)
        if change.delete:
            message.delete(change.name, *change.delete)
        if change.add:
            message.add(change.name, change.ttl(ttl), *change.add)
    code = session.send(message).rcode()
    if code in _CHANGED:
        return False
    if code != dns.rcode.NOERROR:
        raise session.refused("the update", code)
    return True


def rdata_of(rdtype: dns.rdatatype.RdataType, text: str) -> dns.rdata.Rdata:
    """The opposite of ``answers.text_of``; a long TXT is cut into strings of 255 octets."""
    if rdtype == dns.rdatatype.TXT:
        raw = text.encode()
        # A character-string holds 255 octets (RFC 1035 section 3.3); readers join them.
        parts = [raw[start : start + 255] for start in range(0, len(raw), 255)]
        text = " ".join('"' + _escaped(part) + '"' for part in parts) or '""'
    elif rdtype in {dns.rdatatype.MX, dns.rdatatype.PTR}:
        text += "."
    return dns.rdata.from_text(dns.rdataclass.IN, rdtype, text)


def _escaped(part: bytes) -> str:
    """Octets in master-file form (RFC 1035 section 5.1)."""
    return "".join(
        chr(octet) if 32 <= octet < 127 and octet not in b'"\\' else f"\\{octet:03d}"
        for octet in part
    )
