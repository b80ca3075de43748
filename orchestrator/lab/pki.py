"""The lab's certificate authority, and the keys that open and sign things in it."""

import datetime
import ipaddress
from collections.abc import Iterable

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from orchestrator.lab.state import State

_CA_DAYS = 3653
# What clients accept of a server's certificate: Apple's and browsers' limit is 398 days.
_LEAF_DAYS = 397


def ensure_ca(state: State) -> str:
    """Make ``ca.pem`` and ``ca.key`` at first use and return the certificate as PEM text."""
    if not (state.path("ca.key").exists() and state.path("ca.pem").exists()):
        key = ec.generate_private_key(ec.SECP256R1())
        # The key first: a certificate without its key is the state that can't be repaired.
        state.write("ca.key", _private_pem(key))
        state.write("ca.pem", _pem(_ca_certificate(key)), mode=0o644)
    return state.path("ca.pem").read_text()


def ensure_leaf(
    state: State, name: str, addresses: Iterable[ipaddress.IPv4Address | ipaddress.IPv6Address]
) -> tuple[str, str]:
    """Return a server's certificate and key as PEM text, made at first use.

    :param name: its host name, also the files' name.
    """
    if not (state.path(f"{name}.key").exists() and state.path(f"{name}.pem").exists()):
        authority = x509.load_pem_x509_certificate(ensure_ca(state).encode())
        authority_key = serialization.load_pem_private_key(
            state.path("ca.key").read_bytes(), password=None
        )
        assert isinstance(authority_key, ec.EllipticCurvePrivateKey)
        key = ec.generate_private_key(ec.SECP256R1())
        names = [x509.DNSName(name), *(x509.IPAddress(address) for address in addresses)]
        builder = (
            _builder(name, key.public_key(), authority.subject, _LEAF_DAYS)
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(ca=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key()),
                critical=False,
            )
        )
        state.write(f"{name}.key", _private_pem(key))
        state.write(f"{name}.pem", _pem(builder.sign(authority_key, hashes.SHA256())), mode=0o644)
    return state.path(f"{name}.pem").read_text(), state.path(f"{name}.key").read_text()


def ensure_ssh_key(state: State) -> str:
    """Make ``id_ed25519`` at first use and return the public key's line."""
    if not (state.path("id_ed25519").exists() and state.path("id_ed25519.pub").exists()):
        key = ed25519.Ed25519PrivateKey.generate()
        private = key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.OpenSSH,
            serialization.NoEncryption(),
        )
        public = key.public_key().public_bytes(
            serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH
        )
        state.write("id_ed25519", private)
        state.write("id_ed25519.pub", public + b" mailfleet-lab\n", mode=0o644)
    return state.path("id_ed25519.pub").read_text()


def dkim_key() -> bytes:
    """Return a new RSA key for DKIM as PEM; every verifier knows RSA, not all know Ed25519."""
    return _private_pem(rsa.generate_private_key(public_exponent=65537, key_size=2048))


def dkim_public(private_pem: str) -> str:
    """Return the ``p=`` value of a DKIM key's DNS record."""
    import base64

    key = serialization.load_pem_private_key(private_pem.encode(), password=None)
    der = key.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return base64.b64encode(der).decode()


def _ca_certificate(key: ec.EllipticCurvePrivateKey) -> x509.Certificate:
    name = "Mailfleet lab authority"
    builder = (
        _builder(name, key.public_key(), _name(name), _CA_DAYS)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(ca=True), critical=True)
    )
    return builder.sign(key, hashes.SHA256())


def _builder(
    name: str, public: ec.EllipticCurvePublicKey, issuer: x509.Name, days: int
) -> x509.CertificateBuilder:
    # An hour earlier, so that a clock that is a little behind does not refuse it.
    begin = datetime.datetime.now(datetime.UTC) - datetime.timedelta(hours=1)
    return (
        x509.CertificateBuilder()
        .subject_name(_name(name))
        .issuer_name(issuer)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(begin + datetime.timedelta(days=days))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
    )


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _usage(*, ca: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=ca,
        crl_sign=ca,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _private_pem(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
