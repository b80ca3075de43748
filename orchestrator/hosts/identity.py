"""The SSH key that opens the hosts."""

from pathlib import Path

import paramiko
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519
from paramiko.pkey import UnknownKeyType

from orchestrator.errors import ConfigurationError


def new_key() -> str:
    """A private key (Ed25519) in OpenSSH's format."""
    key = ed25519.Ed25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.OpenSSH,
        serialization.NoEncryption(),
    )
    return key.decode()


def public_key(path: Path, comment: str) -> str:
    """The line for ``authorized_keys`` (sshd(8)) that lets a private key in.

    :raises ConfigurationError: when the file holds none, or one with a passphrase.
    """
    try:
        key = paramiko.PKey.from_path(path)
    except OSError as error:
        raise ConfigurationError(f"can't read the SSH key {path}: {error.strerror}") from None
    except (paramiko.SSHException, UnknownKeyType, TypeError, ValueError):
        message = f"{path} does not hold an SSH private key without a passphrase"
        raise ConfigurationError(message) from None
    return f"{key.get_name()} {key.get_base64()} {comment}\n"
