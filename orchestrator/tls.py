"""Certificates of the hosts, signed by the operator's own certificate authority."""

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from orchestrator.errors import ConfigurationError

#: Days; renewed when a third of it is left.
LIFETIME_DAYS = 90


@dataclass(frozen=True)
class Issued:
    """A new certificate with its chain, and its key, both PEM."""

    chain: str
    private_key: str = field(repr=False)
    not_after: datetime


class Authority:
    """The operator's CA.

    :raises ConfigurationError: when its files can't be used.
    """

    def __init__(self, certificate_file: Path, key_file: Path) -> None:
        try:
            self._certificate = x509.load_pem_x509_certificate(certificate_file.read_bytes())
            key = serialization.load_pem_private_key(key_file.read_bytes(), password=None)
        except OSError as error:
            raise ConfigurationError(
                f"can't read the certificate authority: {error.filename}: {error.strerror}"
            ) from None
        except (ValueError, TypeError, UnsupportedAlgorithm) as error:
            raise ConfigurationError(f"the certificate authority is unusable: {error}") from None
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise ConfigurationError(f"{key_file} does not hold an EC private key")
        self._key = key

    def issue(self, names: Sequence[str], now: datetime) -> Issued:
        """Sign a server certificate for DNS names and IPs; the first is its common name."""
        key = ec.generate_private_key(ec.SECP256R1())
        not_after = now + timedelta(days=LIFETIME_DAYS)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0][:64])]))
            .issuer_name(self._certificate.subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            # Hosts' clocks are not all exact: a fresh certificate must be valid there too.
            .not_valid_before(now - timedelta(hours=1))
            .not_valid_after(not_after)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(
                x509.SubjectAlternativeName([_general_name(name) for name in names]),
                critical=False,
            )
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()),
                critical=False,
            )
            .sign(self._key, hashes.SHA256())
        )
        chain = (certificate, self._certificate)
        return Issued(
            "".join(c.public_bytes(serialization.Encoding.PEM).decode() for c in chain),
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            ).decode(),
            not_after,
        )


def needs_renewal(not_after: datetime, now: datetime) -> bool:
    """Whether less than a third of the lifetime is left."""
    return not_after - now < timedelta(days=LIFETIME_DAYS) / 3


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)
