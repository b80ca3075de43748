"""Values that reach a template or a record, checked by type. All that is refused raises Invalid."""

import ipaddress
import re
import unicodedata

import idna

from orchestrator.errors import Invalid

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

#: Names that can't be proven in the public DNS (RFC 2606, 6761, 6762, 8375, 9476 and usage).
RESERVED_TLDS = frozenset(
    {
        "alt",
        "arpa",
        "corp",
        "example",
        "home",
        "internal",
        "invalid",
        "lan",
        "local",
        "localdomain",
        "localhost",
        "onion",
        "test",
    }
)

_HOSTNAME = re.compile(r"(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z][a-z0-9-]{0,61}[a-z0-9]")
_ZONE = re.compile(
    r"(?:[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?\.)*[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
)
_SLUG = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
# A mailbox's name becomes a directory, a map's key and a field of a password file: of RFC 5322's
# atom characters only those that mean nothing there. What follows a plus is the mailbox's own
# affair: mail to alice+x is alice's.
_MAILBOX = re.compile(r"[a-z0-9_][a-z0-9_='-]*(?:\.[a-z0-9_='-]+)*")
_DOT_ATOM = re.compile(r"[\w!#$%&'*+/=?^`{|}~-]+(?:\.[\w!#$%&'*+/=?^`{|}~-]+)*", re.ASCII)


def fqdn(text: str, *, field: str = "name") -> str:
    """A public host or domain name as lower-case A-labels; a trailing dot is dropped."""
    name = _ascii_name(text, field).removesuffix(".")
    if len(name) > 253 or not _HOSTNAME.fullmatch(name):
        raise Invalid(f"{field} is not a fully qualified domain name", field=field)
    tld = name.rpartition(".")[2]
    if tld in RESERVED_TLDS:
        raise Invalid(f"{field} ends in .{tld}, which is not in the public DNS", field=field)
    return name


def _ascii_name(text: str, field: str) -> str:
    # The bound comes first: IDNA processing is quadratic on long input.
    if len(text) > 254 or not text.isprintable():
        raise Invalid(f"{field} is not a fully qualified domain name", field=field)
    if text.isascii() and "xn--" not in text.lower():
        return text.lower()
    try:
        return idna.encode(text, uts46=True, std3_rules=True).decode()
    except idna.IDNAError:
        raise Invalid(f"{field} is not a valid internationalised name", field=field) from None


def email(text: str, *, field: str = "emails") -> str:
    """The address of a mailbox here: lower-cased, of a conservative set of characters."""
    local, domain = _split(text, field)
    local = local.lower()
    if not _MAILBOX.fullmatch(local):
        raise Invalid(f"{field}: the part before the @ can't name a mailbox", field=field)
    return f"{local}@{fqdn(domain, field=field)}"


def recipient(text: str, *, field: str = "to") -> str:
    """An address elsewhere: any RFC 5322 dot-atom; the local part keeps its case."""
    local, domain = _split(text, field)
    if not _DOT_ATOM.fullmatch(local):
        raise Invalid(f"{field} holds something that is not an e-mail address", field=field)
    return f"{local}@{fqdn(domain, field=field)}"


def _split(text: str, field: str) -> tuple[str, str]:
    local, at, domain = text.rpartition("@")
    if not at or not local or len(local) > 64:
        raise Invalid(f"{field} holds something that is not an e-mail address", field=field)
    return local, domain


def password(text: str, *, field: str = "password") -> str:
    """A password that a person chose: of characters that every client sends the same way."""
    if not 12 <= len(text) <= 128:
        raise Invalid(f"{field} is not 12 to 128 characters long", field=field)
    if not (text.isascii() and text.isprintable()):
        raise Invalid(f"{field} holds something else than printable ASCII characters", field=field)
    return text


def ip(text: str, *, field: str = "ip", loopback: bool = False) -> str:
    """A unicast IPv4 or IPv6 address in its canonical form; of this machine where allowed."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        raise Invalid(f"{field} is not an IP address", field=field) from None
    special = (
        (address.is_loopback and not loopback)
        or address.is_unspecified
        or address.is_multicast
        or address.is_link_local
        or str(address) == "255.255.255.255"
    )
    if isinstance(address, ipaddress.IPv6Address):
        special = special or address.scope_id is not None or address.ipv4_mapped is not None
    if special:
        raise Invalid(f"{field} is not an address that a host can be reached at", field=field)
    return str(address)


def network(text: str, *, field: str = "allowedIps") -> Network:
    """A network in CIDR notation; an address alone is a network of one."""
    try:
        parsed = ipaddress.ip_network(text)
    except ValueError:
        text = f"{field} holds something that is not a network such as 198.51.100.0/24"
        raise Invalid(text, field=field) from None
    if isinstance(parsed, ipaddress.IPv6Network):
        if parsed.network_address.ipv4_mapped:
            raise Invalid(f"{field} holds an IPv4 network in the form of IPv6", field=field)
        # Any text is taken for a scope, also a line break.
        if parsed.network_address.scope_id is not None:
            raise Invalid(f"{field} holds a network that is of one machine only", field=field)
    return parsed


def zone_name(text: str, *, field: str = "name") -> str:
    """The name of a DNS zone or TSIG key: reverse zones and single labels are in order."""
    name = text.lower().removesuffix(".")
    if len(name) > 253 or not _ZONE.fullmatch(name):
        raise Invalid(f"{field} is not a DNS name", field=field)
    return name


def slug(text: str, *, field: str = "slug") -> str:
    """A short lower-case name of letters, digits and inner hyphens."""
    if not _SLUG.fullmatch(text):
        raise Invalid(f"{field} is not lower-case letters, digits and hyphens", field=field)
    return text


def port(number: int, *, field: str = "port") -> int:
    """A TCP or UDP port."""
    if not 1 <= number <= 65535:
        raise Invalid(f"{field} is not between 1 and 65535", field=field)
    return number


def display_name(text: str, *, field: str = "name", limit: int = 200) -> str:
    """A line of text for people: trimmed, not empty, without control characters."""
    trimmed = line(text, field=field, limit=limit).strip()
    if not trimmed:
        raise Invalid(f"{field} is empty", field=field)
    return trimmed


def line(text: str, *, field: str, limit: int) -> str:
    """One line: no control character that could end a header or a field."""
    if len(text) > limit:
        raise Invalid(f"{field} is longer than {limit} characters", field=field)
    # Cc: control characters; Cs: lone surrogates; Zl and Zp: line and paragraph separators.
    if any(unicodedata.category(character) in {"Cc", "Cs", "Zl", "Zp"} for character in text):
        raise Invalid(f"{field} holds a control character", field=field)
    return text
