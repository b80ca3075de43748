"""What an installation needs beside its settings: database, keys, certificate authority."""

import secrets as stdlib_secrets
import socket
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import make_url
from sqlmodel import select

from orchestrator import db, secrets
from orchestrator.errors import ConfigurationError, Conflict
from orchestrator.hosts import identity
from orchestrator.issuers import authority
from orchestrator.issuers.authority import Authority
from orchestrator.models import DkimKey, Zone
from orchestrator.settings import Settings


@dataclass(frozen=True)
class Part:
    """One of them, where it is, and whether it was made just now."""

    what: str
    where: str
    made: bool


@dataclass(frozen=True)
class Installation:
    """All of it; the line is for root's ``authorized_keys`` on each host."""

    parts: tuple[Part, ...]
    ssh_public_key: str


def prepare(settings: Settings) -> Installation:
    """Make what is missing, for its owner alone to read, and keep what is there.

    Done again after an interruption, it goes on where it ended.

    :raises ConfigurationError: when something can't be made, or what is there can't be used.
    :raises Conflict: when the database holds secrets and the master key that opens them is gone.
    """
    made = db.upgrade(settings.database_url)
    url = make_url(settings.database_url).render_as_string(hide_password=True)
    parts = [Part("database", url, made), _master_key(settings)]
    key, certificate = settings.ca_key_file, settings.ca_file
    parts += _authority(key, certificate, f"Mailfleet authority of {settings.fleet_domain}")
    parts.append(_file("SSH key", settings.ssh_key_file, identity.new_key()))
    line = identity.public_key(settings.ssh_key_file, f"mailfleet@{socket.gethostname()}")
    public = settings.ssh_key_file.with_name(f"{settings.ssh_key_file.name}.pub")
    parts.append(_file("its public half", public, line))
    if settings.operator_token_file is not None:
        token = stdlib_secrets.token_urlsafe(32) + "\n"
        parts.append(_file("operator's token", settings.operator_token_file, token))
        settings.operator_token()
    return Installation(tuple(parts), line.strip())


def _file(what: str, path: Path, text: str) -> Part:
    return Part(what, str(path), secrets.write_once(path, text))


def _master_key(settings: Settings) -> Part:
    path = settings.master_key_file
    if not path.exists() and _holds_secrets(settings.database_url):
        raise Conflict(
            f"the database holds secrets, and {path}, which opens them, is gone: put it back "
            "from your copy; another key would open none of them"
        )
    return Part("master key", str(path), secrets.create_master_key(path))


def _holds_secrets(url: str) -> bool:
    """Whether a host, a domain or a zone was added: each brings one."""
    engine = db.connect(url)
    try:
        with db.reading(engine) as session:
            found = (session.exec(select(row).limit(1)).first() for row in (DkimKey.id, Zone.id))
            return any(row is not None for row in found)
    finally:
        engine.dispose()


def _authority(key: Path, certificate: Path, name: str) -> list[Part]:
    # A new key would not be the certificate's. A new certificate is as good as the one that an
    # interruption kept from being written.
    if certificate.exists() and not key.exists():
        raise ConfigurationError(f"{certificate} is there and its key {key} is gone: put it back")
    parts = [_file("authority's key", key, authority.new_key())]
    if certificate.exists():
        parts.append(Part("authority's certificate", str(certificate), made=False))
    else:
        text = authority.certify(key, name)
        parts.append(_file("authority's certificate", certificate, text))
    Authority(certificate, key)
    return parts
