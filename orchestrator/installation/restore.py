"""A backup put back on an empty machine: all of it or nothing, and held until it was looked at."""

import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError

from orchestrator import __version__, db, files
from orchestrator.errors import ConfigurationError, Conflict, Invalid
from orchestrator.installation import archive, backup, copying, sealed
from orchestrator.installation.archive import Contents, Manifest
from orchestrator.secrets import Vault
from orchestrator.services import restored
from orchestrator.services.restored import Held
from orchestrator.settings import Settings


@dataclass(frozen=True)
class Restored:
    """What was put back, and what it does not do by itself.

    ``files`` are the settings whose files were written, ``same`` those whose files were there
    already, ``unset`` those that are in the backup and name no file here. ``living`` counts.
    """

    manifest: Manifest
    files: list[str]
    same: list[str]
    unset: list[str]
    living: dict[str, int]
    held: Held


def restore(source: BinaryIO, settings: Settings) -> Restored:
    """Put a backup back: its rows into the settings' database, its files where the settings say.

    After a failure no file of it is there, and the database is empty still.

    :raises Invalid: when it is no backup, is damaged or from a newer version, or its master key
        does not open its secrets.
    :raises Conflict: when the database holds anything, or a file is there with other content.
    :raises ConfigurationError: when the database or a file can't be written.
    """
    with tempfile.TemporaryDirectory(prefix="mailfleet-restore-") as directory:
        contents = archive.read(source, Path(directory), backup.NAMES)
        old = db.connect(f"sqlite:///{contents.database}")
        try:
            _prepare(contents, old)
            return _restore(contents, old, settings)
        finally:
            old.dispose()


def _restore(contents: Contents, old: Engine, settings: Settings) -> Restored:
    here = backup.paths(settings)
    places = {name: here[name] for name in contents.files if name in here}
    new = {
        name: path for name, path in places.items() if not _same(name, path, contents.files[name])
    }
    with (
        copying.opened(settings.database_url) as target,
        _placing({name: (path, contents.files[name]) for name, path in new.items()}) as place,
        _told(),
        db.writing(target) as session,
    ):
        with copying.snapshot(old) as rows:
            copying.fill(rows, session.connection())
        held = restored.hold(session, contents.manifest.made_at)
        living = restored.living(session)
        # Whatever fails from here on, the commit included, takes the files back.
        place()
    return Restored(
        contents.manifest,
        files=sorted(new),
        same=sorted(set(places) - set(new)),
        unset=sorted(set(contents.files) - set(places)),
        living=living,
        held=held,
    )


def _prepare(contents: Contents, engine: Engine) -> None:
    """Bring the backup's database to this version's schema, and see that its secrets open."""
    manifest = contents.manifest
    try:
        db.upgrade(str(engine.url))
    except ConfigurationError as error:
        raise Invalid(
            f"the backup is of Mailfleet {manifest.version}, schema {manifest.schema}, which this "
            f"version ({__version__}) can't bring to its own: {error}"
        ) from None
    keys = contents.files.get("master_key_file", b"").decode(errors="replace")
    try:
        with db.reading(engine) as session:
            sealed.require_opened(session, Vault(Path("master_key_file"), keys))
    except ConfigurationError:
        raise Invalid("the master key in the backup does not open the secrets in it") from None


@contextmanager
def _told() -> Iterator[None]:
    """Say what a database refuses, without the values that are in its own words."""
    try:
        yield
    except DBAPIError as error:
        why = str(error.orig).partition("\n")[0]
        raise ConfigurationError(f"the database can't be filled: {why}") from None
    except (LookupError, ValueError):
        raise Invalid("the backup holds values that this version does not know") from None


def _same(name: str, path: Path, content: bytes) -> bool:
    """Whether the file is there already.

    :raises Conflict: when it is there with other content.
    :raises ConfigurationError: when it can't be looked at, or there is no directory for it.
    """
    try:
        if path.read_bytes() == content:
            return True
    except FileNotFoundError:
        if not path.parent.is_dir():
            raise ConfigurationError(f"{name}: there is no directory {path.parent}") from None
        return False
    except OSError as error:
        raise ConfigurationError(f"can't read {name} {path}: {error.strerror}") from None
    raise Conflict(f"{name} {path} is there already, and not the one in the backup")


@contextmanager
def _placing(contents: Mapping[str, tuple[Path, bytes]]) -> Iterator[Callable[[], None]]:
    """Gives what writes the files; those that are written go again when the block fails."""
    written: dict[Path, bytes] = {}

    def place() -> None:
        for name, (path, content) in contents.items():
            if path not in written:
                with files.written(path) as file:
                    file.write(content)
                written[path] = content
            elif written[path] != content:
                raise Conflict(f"{name} {path} is another setting's file, too")

    try:
        yield place
    except BaseException:
        for path in written:
            path.unlink(missing_ok=True)
        raise
