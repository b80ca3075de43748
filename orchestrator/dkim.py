"""DKIM keys: their generation and their selectors."""

import base64
from datetime import datetime

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

#: RFC 8301: signers use at least 2048 bits; more does not fit one TXT string well.
KEY_BITS = 2048


def generate() -> tuple[str, str]:
    """Make a key pair.

    :returns: the private key as PEM (PKCS #8), and the value of the record's ``p=`` tag.
    """
    key = rsa.generate_private_key(public_exponent=65537, key_size=KEY_BITS)
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    public = key.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return private.decode(), base64.b64encode(public).decode()


def selector(now: datetime) -> str:
    """The selector of a key made now, such as ``adbtd-2026``."""
    return f"adbtd-{now.year}"
