"""What may stand in a configuration file: the second line of defence.

Values were validated when they were accepted. Each filter refuses, by raising ``Invalid``,
whatever could mean something else to the daemon that reads it: a line end, a separator, a
variable, a path. None of them repairs a value, and none quotes one in its message, which
could hold a secret.
"""

import ipaddress
import re
from collections.abc import Callable
from typing import Any

from orchestrator.errors import Invalid

_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_FQDN = re.compile(rf"(?:{_LABEL}\.)+{_LABEL}")
# No "+": recipient_delimiter would take what follows it away, and deliver to somebody else.
_LOCAL_PART = r"[a-z0-9_](?:[a-z0-9_='-]|\.(?=[a-z0-9_='-]))*"
_EMAIL = re.compile(rf"(?=.{{1,64}}@){_LOCAL_PART}@(?=.{{1,253}}\Z)(?:{_LABEL}\.)+{_LABEL}")
_SELECTOR = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")
_LOGIN = re.compile(r"[a-z0-9+=,.@_-]{1,255}")
_DIRECTORY = re.compile(r"[0-9a-f]*")
_TRANSPORT = re.compile(r"out-[0-9a-f-]+")
# crypt(5) and Dovecot's schemes; ":" separates fields and "%" starts a Dovecot variable.
_PASSWORD_HASH = re.compile(r"\{[A-Z0-9][A-Z0-9.-]*\}[A-Za-z0-9./$=,+_-]+")
_PEM = re.compile(r"[\x20-\x7e]+(?:\n[\x20-\x7e]+)*\n?")


def fqdn(value: object) -> str:
    """A lower-case host or domain name of at least two labels (RFC 1123 section 2.1)."""
    return _match("host name", _FQDN, value, 253)


def email(value: object) -> str:
    """A mailbox's address: lower-case, of characters that no map, path or field gives a meaning."""
    return _match("e-mail address", _EMAIL, value, 318)


def ip(value: object) -> str:
    """An IPv4 or IPv6 address in its canonical form, without a zone."""
    text = value if isinstance(value, str) else ""
    try:
        canonical = str(ipaddress.ip_address(text))
    except ValueError:
        canonical = ""
    if not canonical or canonical != text or "%" in text:
        raise Invalid("a value is not an IP address in canonical form")
    return text


def directory(value: object) -> str:
    """The name of a workspace's directory of mail; empty for none."""
    return _match("directory", _DIRECTORY, value, 32)


def login(value: object) -> str:
    """The lower-case user of a credential: nothing that separates fields, lines or columns."""
    return _match("login", _LOGIN, value, 255)


def network(value: object) -> str:
    """A network in CIDR notation, or an address, in canonical form."""
    text = value if isinstance(value, str) else ""
    try:
        parsed = ipaddress.ip_network(text)
    except ValueError:
        parsed = None
    if parsed is None or text not in (str(parsed), str(parsed.network_address)) or "%" in text:
        raise Invalid("a value is not a network in canonical form")
    return text


def selector(value: object) -> str:
    """A DKIM selector (RFC 6376 section 3.1)."""
    return _match("DKIM selector", _SELECTOR, value, 63)


def transport(value: object) -> str:
    """The name of a Postfix service for one dedicated address (master(5))."""
    return _match("transport name", _TRANSPORT, value, 64)


def password_hash(value: object) -> str:
    """A hash with its scheme, as Dovecot's passwd-file takes it; never a plain password."""
    text = _match("password hash", _PASSWORD_HASH, value, 512)
    if re.match(r"\{(?:PLAIN|CLEAR|CRAM|DIGEST|SCRAM|OTP)", text):
        raise Invalid("a password is not hashed one-way")
    return text


def pem(value: object) -> str:
    """Lines of printable ASCII, such as a certificate chain or a key, without the last line end."""
    return _match("PEM text", _PEM, value, 200_000).removesuffix("\n")


def positive(value: object) -> int:
    """A whole number above zero."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise Invalid("a value is not a whole number above zero")
    return value


def _match(what: str, pattern: re.Pattern[str], value: object, limit: int) -> str:
    if not isinstance(value, str) or len(value) > limit or not pattern.fullmatch(value):
        raise Invalid(f"a value is not fit to be rendered as a {what}")
    return value


#: By the name under which templates use them.
FILTERS: dict[str, Callable[[Any], Any]] = {
    function.__name__: function
    for function in (
        fqdn,
        email,
        ip,
        login,
        network,
        selector,
        transport,
        password_hash,
        pem,
        positive,
    )
}
