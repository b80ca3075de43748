"""The operator's own certificate authority: made once, it signs the hosts' certificates."""

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
#: Of the authority itself: clients are given it once.
AUTHORITY_LIFETIME = timedelta(days=3653)
#: Hosts' clocks are not all exact: a fresh certificate must be valid there too.
ALLOWANCE = timedelta(hours=1)


def new_key() -> str:
    """A private key for an authority, as PEM text."""
    return key_text(ec.generate_private_key(ec.SECP256R1()))


def certify(key_file: Path, name: str) -> str:
    """The authority's certificate for its own key, as PEM text; ``name`` is its common name.

    :raises ConfigurationError: when the file can't be used.
    """
    key = _key(key_file)
    public = key.public_key()
    usage = x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=True,
        crl_sign=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
    issued = (
        _builder(_name(name), _name(name), public, AUTHORITY_LIFETIME)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        .sign(key, hashes.SHA256())
    )
    return issued.public_bytes(serialization.Encoding.PEM).decode()


class Authority:
    """The operator's CA.

    :raises ConfigurationError: when its files can't be used.
    """

    def __init__(self, certificate_file: Path, key_file: Path) -> None:
        try:
            self._certificate = x509.load_pem_x509_certificate(_read(certificate_file))
        except ValueError as error:
            raise ConfigurationError(f"the certificate authority is unusable: {error}") from None
        self._key = _key(key_file)

    def issue(self, names: Sequence[str], lifetime: timedelta = LIFETIME) -> Issued:
        """Sign a server certificate for DNS names and IPs; the first is its common name."""
        key = ec.generate_private_key(ec.SECP256R1())
        alternatives = x509.SubjectAlternativeName([general_name(name) for name in names])
        authority = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        certificate = (
            _builder(_name(names[0]), self._certificate.subject, key.public_key(), lifetime)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(alternatives, critical=False)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
            .add_extension(authority, critical=False)
            .sign(self._key, hashes.SHA256())
        )
        chain = (certificate, self._certificate)
        return Issued(
            "".join(c.public_bytes(serialization.Encoding.PEM).decode() for c in chain),
            key_text(key),
            certificate.not_valid_before_utc,
            certificate.not_valid_after_utc,
        )


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigurationError(
            f"can't read the certificate authority: {path}: {error.strerror}"
        ) from None


def _key(path: Path) -> ec.EllipticCurvePrivateKey:
    try:
        key = serialization.load_pem_private_key(_read(path), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise ConfigurationError(f"the certificate authority is unusable: {error}") from None
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise ConfigurationError(f"{path} does not hold an EC private key")
    return key


def _name(text: str) -> x509.Name:
    # RFC 5280, appendix A.1: 64 characters at most.
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text[:64])])


def _builder(
    subject: x509.Name, issuer: x509.Name, public: ec.EllipticCurvePublicKey, lifetime: timedelta
) -> x509.CertificateBuilder:
    now = datetime.now(UTC).replace(microsecond=0)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - ALLOWANCE)
        .not_valid_after(now + lifetime)
    )
