"""What a key may do: the right that a route asks for, the mailbox it is about, and from where."""

import ipaddress
from enum import StrEnum
from uuid import UUID

from orchestrator.errors import Forbidden, NotFound
from orchestrator.models import ApiKey, Bucket, KeyScope
from orchestrator.services.validation import Network


class Right(StrEnum):
    """What a route asks of a key; each route declares one."""

    #: Which workspace and which key this is: every key may know.
    IDENTITY = "identity"
    READ = "read the workspace"
    WRITE = "change the workspace"
    MANAGE_KEYS = "manage keys"
    #: These are about the mail of the one mailbox that the path names.
    SEND = "send mail"
    READ_MAIL = "read mail"
    CHANGE_MAIL = "change mail"


_OF_SCOPE = {
    KeyScope.FULL: frozenset(Right),
    KeyScope.READ: frozenset({Right.IDENTITY, Right.READ, Right.READ_MAIL}),
    KeyScope.SEND: frozenset({Right.IDENTITY, Right.SEND}),
}
_OF_ONE_MAILBOX = frozenset({Right.IDENTITY, Right.SEND, Right.READ_MAIL, Right.CHANGE_MAIL})
_BUCKETS = {Right.SEND: Bucket.SEND, Right.READ_MAIL: Bucket.FETCH}


def bucket(right: Right) -> Bucket:
    """Which rate a route of that right counts towards."""
    return _BUCKETS.get(right, Bucket.DEFAULT)


def authorize(key: ApiKey, right: Right, mailbox_id: UUID | None) -> None:
    """See that the key may do it.

    :param mailbox_id: of the mailbox that the request is about, if it is about one.
    :raises NotFound: when the key is for another mailbox: for it, there are no others.
    :raises Forbidden: when it lacks the right.
    """
    if key.mailbox_id is not None:
        if mailbox_id is not None and mailbox_id != key.mailbox_id:
            raise NotFound("there is no such mailbox for this API key")
        if right not in _OF_ONE_MAILBOX or (right is not Right.IDENTITY and mailbox_id is None):
            raise Forbidden(f"this API key is for the mail of one mailbox: it can't {right}")
    if right not in _OF_SCOPE[key.scope]:
        raise Forbidden(f"this API key has the scope {key.scope}: it can't {right}")


def admit(key: ApiKey, client: str | None) -> None:
    """See that the key may be used from where it is used.

    :param client: the client's IP address, as far as it is known.
    :raises Forbidden: when the key is for other networks.
    """
    if key.allowed_ips and not _within(client, key.allowed_ips):
        raise Forbidden("this API key may not be used from this address")


def _within(client: str | None, networks: list[str]) -> bool:
    try:
        address = ipaddress.ip_address(client or "")
    except ValueError:
        return False
    # A socket that listens on both versions sees IPv4 clients so (RFC 4291, 2.5.5.2).
    address = getattr(address, "ipv4_mapped", None) or address
    return any(address in ipaddress.ip_network(network) for network in networks)


def covers(outer: list[str], inner: list[Network]) -> bool:
    """Whether every one of the networks lies in one of ``outer``'s; an empty list is everything."""
    if not outer:
        return True
    around = [ipaddress.ip_network(network) for network in outer]
    return bool(inner) and all(
        any(_inside(network, other) for other in around) for network in inner
    )


def _inside(inner: Network, outer: Network) -> bool:
    if isinstance(inner, ipaddress.IPv4Network) and isinstance(outer, ipaddress.IPv4Network):
        return inner.subnet_of(outer)
    if isinstance(inner, ipaddress.IPv6Network) and isinstance(outer, ipaddress.IPv6Network):
        return inner.subnet_of(outer)
    return False
