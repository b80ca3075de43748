"""Encryption at rest with keys that can be rotated; hashes that Dovecot reads."""

import stat
from pathlib import Path

import pytest
from passlib.hash import sha512_crypt

from orchestrator import secrets
from orchestrator.errors import ConfigurationError


def test_what_is_encrypted_comes_back(tmp_path: Path) -> None:
    path = tmp_path / "master.key"
    secrets.create_master_key(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    token = secrets.Vault(path).encrypt("s3cret")
    assert "s3cret" not in token
    assert secrets.Vault(path).decrypt(token) == "s3cret"


def test_a_new_key_on_top_still_opens_the_old_secrets(tmp_path: Path) -> None:
    path, other = tmp_path / "master.key", tmp_path / "new.key"
    secrets.create_master_key(path)
    secrets.create_master_key(other)
    token = secrets.Vault(path).encrypt("s3cret")
    path.write_text(other.read_text() + path.read_text())
    assert secrets.Vault(path).decrypt(token) == "s3cret"


def test_an_existing_master_key_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "master.key"
    secrets.create_master_key(path)
    before = path.read_text()
    secrets.create_master_key(path)
    assert path.read_text() == before


def test_a_wrong_or_missing_key_is_said_clearly(tmp_path: Path) -> None:
    path, other = tmp_path / "master.key", tmp_path / "other.key"
    secrets.create_master_key(path)
    secrets.create_master_key(other)
    token = secrets.Vault(path).encrypt("s3cret")
    with pytest.raises(ConfigurationError, match="right file"):
        secrets.Vault(other).decrypt(token)
    with pytest.raises(ConfigurationError, match="mailfleet init"):
        secrets.Vault(tmp_path / "gone").encrypt("x")
    other.write_text("nonsense")
    with pytest.raises(ConfigurationError, match="Fernet"):
        secrets.Vault(other).encrypt("x")


def test_passwords_are_long_random_and_hashed_for_dovecot() -> None:
    one, two = secrets.new_password(), secrets.new_password()
    assert one != two
    assert len(one) == 32
    assert one.isalnum()
    scheme, _, digest = secrets.hash_password(one).partition("}")
    assert scheme == "{SHA512-CRYPT"
    assert sha512_crypt.verify(one, digest)
    assert not sha512_crypt.verify(two, digest)
