"""A backup: all rows as of one moment, and the files without which they are worth nothing."""

import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

import msgspec
from sqlalchemy import Engine, text
from sqlalchemy.exc import OperationalError

from orchestrator import __version__, db
from orchestrator.errors import ConfigurationError
from orchestrator.installation import archive, copying, sealed
from orchestrator.installation.archive import Manifest
from orchestrator.secrets import Vault
from orchestrator.settings import Settings

#: The setting whose file goes with a second one.
SSH_KEY = "ssh_key_file"
SSH_PUBLIC_KEY = "ssh_key_file.pub"
#: Settings that name a file which is ours to keep; this one is written from the database.
KEPT = frozenset(
    field.name
    for field in msgspec.structs.fields(Settings)
    if field.type in (Path, Path | None) and field.name.endswith("_file")
) - {"known_hosts_file"}
NAMES = KEPT | {SSH_PUBLIC_KEY}


def paths(settings: Settings) -> dict[str, Path]:
    """Where the files of a backup are here, by setting; without those that are not set."""
    found = {name: getattr(settings, name) for name in sorted(KEPT)}
    ssh_key: Path = found[SSH_KEY]
    found[SSH_PUBLIC_KEY] = ssh_key.with_name(f"{ssh_key.name}.pub")
    return {name: path for name, path in found.items() if path is not None}


def make(engine: Engine, settings: Settings, out: BinaryIO) -> Manifest:
    """Write a backup of the installation to ``out``; nobody waits for it.

    Nothing is written before all of it is known to be good.

    :raises ConfigurationError: when the master key is missing or does not open a stored secret,
        or another file can't be read.
    :raises OSError: when ``out`` doesn't take it.
    """
    made_at = datetime.now(UTC).replace(microsecond=0)
    with tempfile.TemporaryDirectory(prefix="mailfleet-backup-") as directory:
        database = Path(directory) / archive.DATABASE
        try:
            rows = copying.copy(engine, f"sqlite:///{database}")
        except OperationalError as error:
            raise ConfigurationError(f"the database can't be copied: {error.orig}") from None
        schema = _check(database, Vault(settings.master_key_file))
        # After the rows: a master key that came meanwhile is in it, too.
        found = {name: _read(name, path) for name, path in paths(settings).items()}
        files = {name: content for name, content in found.items() if content is not None}
        members = {
            archive.FILES + name: archive.member_of(content) for name, content in files.items()
        }
        members[archive.DATABASE] = archive.database_member(database)
        manifest = Manifest(
            version=__version__, schema=schema, made_at=made_at, rows=rows, members=members
        )
        archive.write(out, manifest, database, files)
        return manifest


def _check(database: Path, vault: Vault) -> str:
    """See that every secret opens; gives the schema's revision."""
    engine = db.connect(f"sqlite:///{database}")
    try:
        with db.reading(engine) as session:
            sealed.require_opened(session, vault)
            found = session.execute(text("SELECT version_num FROM alembic_version"))
            return str(found.scalar_one())
    finally:
        engine.dispose()


def _read(name: str, path: Path) -> bytes | None:
    """What is in a file; None where there is none: not every installation has all of them."""
    try:
        with path.open("rb") as file:
            content = file.read(archive.SMALL + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ConfigurationError(f"can't read {name} {path}: {error.strerror}") from None
    if len(content) > archive.SMALL:
        raise ConfigurationError(f"{name} {path} is larger than {archive.SMALL} octets")
    return content
