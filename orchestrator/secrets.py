"""Secrets: encryption at rest, password generation and hashing, token digests."""

import hashlib
import hmac
import secrets as stdlib_secrets
import string
from functools import cached_property
from pathlib import Path

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from passlib.hash import scrypt, sha512_crypt

from orchestrator import files
from orchestrator.errors import ConfigurationError, Conflict

#: Letters and digits alone survive every client's shell, URL and configuration file.
ALPHABET = string.ascii_letters + string.digits
#: 32 of them are 190 random bits: far past what makes one round of hashing sound.
PASSWORD_LENGTH = 32
#: SHA512-CRYPT at its floor: sound for random passwords, 1.3 ms a login (see FACTS).
HASH_ROUNDS = 1000
#: What a person chose can be guessed: each guess takes 50 times as long.
CHOSEN_ROUNDS = 50_000
#: The hash, 64 zero bytes, of no password that anybody knows: whoever is suspended has it.
LOCKED = "{SHA512-CRYPT}$6$rounds=1000$suspended$" + "." * 86

#: scrypt with 32 MiB, three times over: 0.3 s a login. Needs no library but Python's own.
#: (OWASP, Password Storage Cheat Sheet: N=2^15, r=8, p=3)
_CHOSEN = scrypt.using(rounds=15, block_size=8, parallelism=3)


class Vault:
    """Encrypts what must be readable again (mailbox passwords, DKIM and TLS keys).

    :param path: file of Fernet keys, one a line, newest first: the first encrypts, all
        decrypt, so that a key is rotated by putting a new one on top.
    :param keys: what the file holds, where it was read already.
    """

    def __init__(self, path: Path, keys: str | None = None) -> None:
        self.path = path
        self._keys = keys

    @cached_property
    def _fernet(self) -> MultiFernet:
        try:
            keys = self.path.read_text() if self._keys is None else self._keys
            return MultiFernet([Fernet(key) for key in keys.split()])
        except OSError as error:
            raise ConfigurationError(
                f"can't read the master key {self.path}: {error.strerror}; "
                "`mailfleet init` makes one"
            ) from None
        except ValueError:
            raise ConfigurationError(f"{self.path} does not hold Fernet keys") from None

    def encrypt(self, plain: str) -> str:
        """Encrypt text for the database."""
        return self._fernet.encrypt(plain.encode()).decode()

    def decrypt(self, token: str) -> str:
        """Give back what ``encrypt`` was given.

        :raises ConfigurationError: when no master key opens it.
        """
        try:
            return self._fernet.decrypt(token.encode()).decode()
        except InvalidToken:
            raise ConfigurationError(
                f"no key in {self.path} opens a stored secret: is it the right file?"
            ) from None


def create_master_key(path: Path) -> bool:
    """Write a new master key, readable by its owner alone; an existing file is kept.

    :returns: whether it was made.
    :raises ConfigurationError: when it can't be written.
    """
    return write_once(path, Fernet.generate_key().decode() + "\n")


def write_once(path: Path, text: str) -> bool:
    """Write a file for its owner alone to read, whole or not at all; an existing one is kept.

    :returns: whether it was written.
    :raises ConfigurationError: when it can't be.
    """
    try:
        with files.written(path) as file:
            file.write(text.encode())
    except Conflict:
        return False
    return True


def new_password() -> str:
    """A random mailbox password of 32 letters and digits."""
    return "".join(stdlib_secrets.choice(ALPHABET) for _ in range(PASSWORD_LENGTH))


def hash_password(plain: str) -> str:
    """Hash one of ours for Dovecot's password file (``{SHA512-CRYPT}$6$…``)."""
    return _crypt(plain, HASH_ROUNDS)


def hash_chosen(plain: str) -> str:
    """Hash a password that a person chose, for the same file."""
    return _crypt(plain, CHOSEN_ROUNDS)


def _crypt(plain: str, rounds: int) -> str:
    return "{SHA512-CRYPT}" + str(sha512_crypt.using(rounds=rounds).hash(plain))


def hash_chosen_password(plain: str) -> str:
    """Hash what a person chose (``$scrypt$…``); unlike random ones, such passwords are guessed."""
    return str(_CHOSEN.hash(plain))


def verify_chosen_password(plain: str, hashed: str) -> bool:
    """Whether it is the password that was hashed."""
    return bool(_CHOSEN.verify(plain, hashed))


def token_digest(token: str) -> str:
    """SHA-256 of an API key: it holds 256 random bits, so a fast digest is sound."""
    return hashlib.sha256(token.encode()).hexdigest()


def same_secret(given: str, expected: str) -> bool:
    """Compare without telling by the time it takes how much of it is right."""
    return hmac.compare_digest(given.encode(), expected.encode())
