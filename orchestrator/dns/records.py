"""The records that must stand in DNS. Pure: values in, records out.

Names are lower-case FQDNs without the trailing dot; a TXT value is the joined text, unquoted.
"""

import ipaddress
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from orchestrator.errors import Invalid

#: One label of a host name (RFC 1123) or of a service name such as ``_dmarc`` (RFC 8552).
_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?")

#: The label below a domain at which its ownership is proven.
OWNERSHIP_LABEL = "_mailfleet"

#: The DMARC policy of a cluster's domain.
CLUSTER_DMARC = "v=DMARC1; p=reject; adkim=s; aspf=r"

#: What an ownership TXT record starts with.
OWNERSHIP_PREFIX = "mailfleet-verification="


class Purpose(StrEnum):
    """What a record is for; conditions are kept per purpose."""

    NAME = "name"
    PTR = "ptr"
    MX = "mx"
    SPF = "spf"
    DKIM = "dkim"
    DMARC = "dmarc"
    OWNERSHIP = "ownership"
    CHALLENGE = "challenge"


@dataclass(frozen=True)
class ExpectedRecord:
    """One record as it must be seen. ``type`` is ``A``, ``AAAA``, ``PTR``, ``MX`` or ``TXT``.

    The value of an MX is ``10 mx1.fleetlab.net``, that of a PTR the bare name.
    """

    purpose: Purpose
    type: str
    name: str
    value: str


def fqdn(name: str, *, field: str = "name") -> str:
    """``name`` in lower case and without a trailing dot.

    Raises ``Invalid`` when it isn't a DNS name of ASCII labels: international names must
    already be A-labels (RFC 5890), for here nobody can ask which of two spellings is meant.
    """
    text = name.removesuffix(".").lower()
    if len(text) > 253 or not all(_LABEL.fullmatch(label) for label in text.split(".")):
        raise Invalid(f"{name!r} is not a DNS name in ASCII form", field=field)
    return text


def canonical_ips(ips: Iterable[str]) -> list[str]:
    """The addresses in canonical text form, IPv4 first, ascending, without duplicates.

    IPv4-mapped IPv6 addresses become IPv4. Raises ``Invalid`` for what isn't an IP address.
    """
    parsed = set()
    for text in ips:
        try:
            ip = ipaddress.ip_address(text)
        except ValueError as error:
            raise Invalid(f"{text!r} is not an IP address", field="ip") from error
        parsed.add(getattr(ip, "ipv4_mapped", None) or ip)
    return [str(ip) for ip in sorted(parsed, key=lambda ip: (ip.version, int(ip)))]


def domain_records(
    *,
    domain: str,
    ownership_token: str,
    mx_hosts: Sequence[str],
    egress_ips: Sequence[str],
    dkim: Sequence[tuple[str, str]],
    dmarc_rua: str | None,
) -> list[ExpectedRecord]:
    """The records of a tenant's domain.

    ``dkim`` holds (selector, public key) pairs, the key as the base64 of the ``p=`` tag;
    ``dmarc_rua`` is the address for aggregate reports. Without MX hosts there is no MX record,
    and without egress addresses no SPF record: ``v=spf1 -all`` would forbid mail that the
    tenant sends through somebody else. Raises ``Invalid`` for malformed names and addresses.

    SPF ends in ``-all`` (RFC 7208 section 5.1): every sender of a dedicated-IP domain is
    known, so nothing else is legitimate, and forwarded mail passes DMARC by its DKIM
    signature. DMARC is ``p=quarantine`` (RFC 7489): ``none`` protects from nothing, while
    ``reject`` would lose the mail of a sender that the tenant forgot to tell; both policies
    are kept as they are where the tenant publishes their own.
    """
    zone = fqdn(domain, field="domain")
    ownership = f"{OWNERSHIP_LABEL}.{zone}"
    records = [
        ExpectedRecord(Purpose.OWNERSHIP, "TXT", ownership, OWNERSHIP_PREFIX + ownership_token)
    ]
    for host in dict.fromkeys(mx_hosts):
        # One preference for all: the fleet's hosts are peers, and senders spread over them.
        records.append(ExpectedRecord(Purpose.MX, "MX", zone, f"10 {fqdn(host, field='mx')}"))
    if egress_ips:
        records.append(ExpectedRecord(Purpose.SPF, "TXT", zone, spf_value(egress_ips)))
    for selector, public_key in dkim:
        name = dkim_name(selector, zone)
        value = f"v=DKIM1; k=rsa; p={''.join(public_key.split())}"
        records.append(ExpectedRecord(Purpose.DKIM, "TXT", name, value))
    # A rua in another domain is used only if that domain consents (RFC 7489 section 7.1).
    rua = f"; rua=mailto:{dmarc_rua}" if dmarc_rua else ""
    dmarc = f"v=DMARC1; p=quarantine{rua}"
    records.append(ExpectedRecord(Purpose.DMARC, "TXT", f"_dmarc.{zone}", dmarc))
    return records


def cluster_records(*, domain: str, dkim: Sequence[tuple[str, str]]) -> list[ExpectedRecord]:
    """The records of a domain that is sent from through a cluster.

    Its mail passes DMARC by its signature alone, which is why alignment is strict (RFC 7489
    section 3.1.1); SPF and MX are its owner's own affair.
    """
    zone = fqdn(domain, field="domain")
    records = [
        ExpectedRecord(Purpose.DKIM, "TXT", dkim_name(selector, zone), f"p={public_key}")
        for selector, public_key in dkim
    ]
    dmarc = ExpectedRecord(Purpose.DMARC, "TXT", f"_dmarc.{zone}", CLUSTER_DMARC)
    return [*records, dmarc]


def dkim_name(selector: str, domain: str) -> str:
    """Where a key is published (RFC 6376 section 3.6.2.1)."""
    return f"{fqdn(selector, field='selector')}._domainkey.{domain}"


def spf_value(ips: Iterable[str]) -> str:
    """An SPF record (RFC 7208) that lets exactly these addresses send."""
    return " ".join(["v=spf1", *(spf_mechanism(ip) for ip in canonical_ips(ips)), "-all"])


def spf_mechanism(ip: str) -> str:
    """The ``ip4:`` or ``ip6:`` mechanism (RFC 7208 section 5.6) of one canonical address."""
    return f"ip6:{ip}" if ":" in ip else f"ip4:{ip}"


def spf_addresses(value: str) -> list[str]:
    """The addresses in an SPF value of ours, the opposite of ``spf_value``."""
    return [term[4:] for term in value.split() if term.startswith(("ip4:", "ip6:"))]


def split(records: Iterable[ExpectedRecord]) -> list[ExpectedRecord]:
    """The records with each SPF record cut into one for each of its addresses."""
    parts: list[ExpectedRecord] = []
    for record in records:
        if record.purpose is Purpose.SPF:
            parts += [replace(record, value=spf_value([ip])) for ip in spf_addresses(record.value)]
        else:
            parts.append(record)
    return parts


def joined(records: Iterable[ExpectedRecord]) -> list[ExpectedRecord]:
    """The opposite of ``split``: one SPF record for each name, and nothing twice."""
    ips: dict[str, list[str]] = {}
    kept: dict[ExpectedRecord, None] = {}
    for record in records:
        if record.purpose is Purpose.SPF:
            ips.setdefault(record.name, []).extend(spf_addresses(record.value))
        else:
            kept[record] = None
    spf = [ExpectedRecord(Purpose.SPF, "TXT", name, spf_value(of)) for name, of in ips.items()]
    return [*kept, *spf]


def address_records(ip: str, name: str) -> list[ExpectedRecord]:
    """The A or AAAA of a dedicated address's name and the PTR that points back to it.

    Raises ``Invalid`` for a malformed name or address.
    """
    (address,) = canonical_ips([ip])
    host = fqdn(name)
    kind = "AAAA" if ":" in address else "A"
    reverse = ipaddress.ip_address(address).reverse_pointer
    return [
        ExpectedRecord(Purpose.NAME, kind, host, address),
        ExpectedRecord(Purpose.PTR, "PTR", reverse, host),
    ]


def name_records(name: str, ips: Iterable[str]) -> list[ExpectedRecord]:
    """The A or AAAA records of a name that stands for several machines; they have no PTR to it."""
    return [
        ExpectedRecord(Purpose.NAME, "AAAA" if ":" in ip else "A", fqdn(name), ip)
        for ip in canonical_ips(ips)
    ]


def host_records(hostname: str, ips: Sequence[str]) -> list[ExpectedRecord]:
    """The A/AAAA records of a host's own name, and the PTR of each of its own addresses.

    The PTR is needed as well: bounces leave from there under the host's name.
    """
    return [record for ip in canonical_ips(ips) for record in address_records(ip, hostname)]
