"""Certificates of the hosts, signed by the operator's own certificate authority."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from orchestrator.errors import ConfigurationError
from orchestrator.issuers.issued import Issued, general_name, key_text

LIFETIME = timedelta(days=90)
#: Hosts' clocks are not all exact: a fresh certificate must be valid there too.
ALLOWANCE = timedelta(hours=1)


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

    def issue(self, names: Sequence[str]) -> Issued:
        """Sign a server certificate for DNS names and IPs; the first is its common name."""
        key = ec.generate_private_key(ec.SECP256R1())
        now = datetime.now(UTC)
        not_before, not_after = now - ALLOWANCE, now + LIFETIME
        certificate = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0][:64])]))
            .issuer_name(self._certificate.subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(not_before)
            .not_valid_after(not_after)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(
                x509.SubjectAlternativeName([general_name(name) for name in names]),
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
            key_text(key),
            not_before,
            not_after,
        )
