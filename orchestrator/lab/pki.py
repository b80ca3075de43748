"""The lab's certificate authority, and the keys that open and sign things in it."""

import base64
import ipaddress
from collections.abc import Iterable
from datetime import timedelta
from functools import partial

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from orchestrator.hosts import identity
from orchestrator.issuers import authority
from orchestrator.issuers.authority import Authority
from orchestrator.issuers.issued import key_text
from orchestrator.lab.state import State

# What clients accept of a server's certificate: Apple's and browsers' limit is 398 days.
_LEAF_LIFETIME = timedelta(days=397)


def ensure_ca(state: State) -> str:
    """Make ``ca.pem`` and ``ca.key`` at first use and return the certificate as PEM text."""
    state.once("ca.key", authority.new_key)
    certificate = partial(authority.certify, state.path("ca.key"), "Mailfleet lab authority")
    return state.once("ca.pem", certificate, mode=0o644)


def ensure_leaf(
    state: State, name: str, addresses: Iterable[ipaddress.IPv4Address | ipaddress.IPv6Address]
) -> tuple[str, str]:
    """Return a server's certificate with the authority's, and its key, as PEM; made at first use.

    :param name: its host name, also the files' name.
    """
    if not (state.path(f"{name}.key").exists() and state.path(f"{name}.pem").exists()):
        ensure_ca(state)
        issued = Authority(state.path("ca.pem"), state.path("ca.key")).issue(
            [name, *map(str, addresses)], _LEAF_LIFETIME
        )
        state.write(f"{name}.key", issued.private_key)
        state.write(f"{name}.pem", issued.chain, mode=0o644)
    return state.path(f"{name}.pem").read_text(), state.path(f"{name}.key").read_text()


def ensure_ssh_key(state: State) -> str:
    """Make ``id_ed25519`` at first use and return the public key's line."""
    state.once("id_ed25519", identity.new_key)
    public = partial(identity.public_key, state.path("id_ed25519"), "mailfleet-lab")
    return state.once("id_ed25519.pub", public, mode=0o644)


def dkim_key() -> bytes:
    """Return a new RSA key for DKIM as PEM; every verifier knows RSA, not all know Ed25519."""
    return key_text(rsa.generate_private_key(public_exponent=65537, key_size=2048)).encode()


def dkim_public(private_pem: str) -> str:
    """Return the ``p=`` value of a DKIM key's DNS record."""
    key = serialization.load_pem_private_key(private_pem.encode(), password=None)
    der = key.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return base64.b64encode(der).decode()
