"""A certificate with its key, and what must be true of it before a host may have it."""

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Protocol

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes

from orchestrator.conditions import Reason
from orchestrator.errors import OrchestratorError

#: Renewed when this part of the lifetime is left, whatever the lifetime.
RENEWAL_SHARE = 1 / 3


class IssuanceError(OrchestratorError):
    """No certificate was got. ``retry_after`` is what the other side asks for, in seconds."""

    kind = "issuance"

    def __init__(self, reason: Reason, message: str, *, retry_after: float = 0.0) -> None:
        super().__init__(message)
        self.reason = reason
        self.retry_after = retry_after


@dataclass(frozen=True)
class Issued:
    """A certificate with its chain, and its key, both PEM."""

    chain: str
    private_key: str = field(repr=False)
    not_before: datetime
    not_after: datetime

    @property
    def renew_at(self) -> datetime:
        """When a third of its lifetime is left."""
        return self.not_after - (self.not_after - self.not_before) * RENEWAL_SHARE


class Issuer(Protocol):
    """A source of certificates."""

    def issue(self, names: Sequence[str]) -> Issued:
        """A certificate for the names; the first is the host's own.

        :raises IssuanceError: when there is none to be had now.
        """


def checked(chain: str, private_key: str, names: Sequence[str]) -> Issued:
    """A certificate that came from elsewhere, if a host can serve with it.

    :raises IssuanceError: ``FILE_UNUSABLE`` when it can't be read, is not of this key or is
        not valid now, and ``NAMES_MISSING`` when it is not for all names.
    """
    certificates, key = _certificates(chain), _key(private_key)
    leaf, now = certificates[0], datetime.now(UTC)
    if _public(leaf) != _public(key):
        raise IssuanceError(Reason.FILE_UNUSABLE, "the key is not the certificate's")
    if leaf.not_valid_after_utc <= now:
        expired = f"it expired on {leaf.not_valid_after_utc:%Y-%m-%d}"
        raise IssuanceError(Reason.FILE_UNUSABLE, expired)
    if leaf.not_valid_before_utc > now:
        early = f"it is not valid before {leaf.not_valid_before_utc:%Y-%m-%d %H:%M} UTC"
        raise IssuanceError(Reason.FILE_UNUSABLE, early)
    missing = [name for name in names if not _is_for(leaf, name)]
    if missing:
        raise IssuanceError(Reason.NAMES_MISSING, f"it is not for {', '.join(missing)}")
    # Written anew: what people leave around a certificate in its file goes to no host.
    return Issued(
        "".join(c.public_bytes(serialization.Encoding.PEM).decode() for c in certificates),
        key_text(key),
        leaf.not_valid_before_utc,
        leaf.not_valid_after_utc,
    )


def key_text(key: PrivateKeyTypes) -> str:
    """A private key as PEM (PKCS #8)."""
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    ).decode()


def general_name(name: str) -> x509.GeneralName:
    """A DNS name or an IP as certificates hold it."""
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _certificates(chain: str) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(chain.encode())
    except ValueError:
        raise IssuanceError(Reason.FILE_UNUSABLE, "it holds no certificate (PEM)") from None


def _key(private_key: str) -> PrivateKeyTypes:
    try:
        return serialization.load_pem_private_key(private_key.encode(), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        message = "the key's file holds no key (PEM, without a passphrase)"
        raise IssuanceError(Reason.FILE_UNUSABLE, message) from None


def _public(holder: x509.Certificate | PrivateKeyTypes) -> bytes:
    return holder.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def _is_for(leaf: x509.Certificate, name: str) -> bool:
    """Whether clients accept it for the DNS name: itself or a wildcard (RFC 6125, 6.4.3)."""
    try:
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return False
    held = {held.lower() for held in names.get_values_for_type(x509.DNSName)}
    return name in held or f"*.{name.partition('.')[2]}" in held
