"""Files that come about whole or not at all."""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from orchestrator.errors import ConfigurationError, Conflict


@contextmanager
def written(path: Path, *, mode: int = 0o600, replace: bool = False) -> Iterator[BinaryIO]:
    """A new file; it is at its path, and outlasts a power cut, when the block has ended well.

    :raises Conflict: when there is a file already that is not to be replaced.
    :raises ConfigurationError: when it can't be written.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        # Known before the work of a long block is done; the link has the last word.
        if path.exists() and not replace:
            raise FileExistsError
        # Never readable by others, not even before chmod.
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as file:
                yield file
                file.flush()
                os.fchmod(file.fileno(), mode)
                os.fsync(file.fileno())
            if replace:
                temporary.replace(path)
            else:
                # Unlike a rename, it replaces nothing.
                path.hardlink_to(temporary)
        finally:
            temporary.unlink(missing_ok=True)
        _sync(path.parent)
    except FileExistsError:
        raise Conflict(f"{path} exists already") from None
    except OSError as error:
        raise ConfigurationError(f"can't write {path}: {error.strerror}") from None


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
