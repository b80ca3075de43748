"""DKIM keys: their generation and their selectors."""

import base64
import re
from collections.abc import Iterable
from datetime import datetime

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

#: RFC 8301: signers use at least 2048 bits; more does not fit one TXT string well.
KEY_BITS = 2048

_SELECTOR = re.compile(r"adbtd-(\d{4})([a-z]*)")


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


def selector(now: datetime, used: Iterable[str] = ()) -> str:
    """The selector of a key made now: ``adbtd-2026``, then ``adbtd-2026b``, ``adbtd-2026c`` …

    It comes after all that are ``used``, so none is used again even where older ones have been
    forgotten, or the clock went back.
    """
    matches = [match for match in map(_SELECTOR.fullmatch, used) if match]
    year, _, suffix = max(
        ((int(match[1]), len(match[2]), match[2]) for match in matches), default=(0, 0, "")
    )
    if now.year > year:
        return f"adbtd-{now.year}"
    return f"adbtd-{year}{_after(suffix)}"


def cluster_selector(base: str, used: Iterable[str]) -> str:
    """The selector of a cluster's domain: ``base``, then ``base-2``, ``base-3`` …"""
    pattern = re.compile(re.escape(base) + r"(?:-(\d{1,4}))?")
    numbers = [int(match[1] or 1) for match in map(pattern.fullmatch, used) if match]
    return f"{base}-{max(numbers) + 1}" if numbers else base


def _after(suffix: str) -> str:
    if not suffix:
        return "b"
    head, last = suffix[:-1], suffix[-1]
    if last != "z":
        return head + chr(ord(last) + 1)
    return (_after(head) if head else "a") + "a"
