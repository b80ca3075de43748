"""Certificates that an operator puts into a directory: ``<hostname>.pem`` and ``.key``."""

from collections.abc import Sequence
from pathlib import Path

from orchestrator.conditions import Reason
from orchestrator.issuers.issued import IssuanceError, Issued, checked


class Files:
    """The files of a directory; they are read anew each time."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def issue(self, names: Sequence[str]) -> Issued:
        """The host's files, if a host can serve with them.

        :raises IssuanceError: naming the file and what is wrong with it.
        """
        chain, key = (self._directory / f"{names[0]}{suffix}" for suffix in (".pem", ".key"))
        try:
            return checked(_read(chain), _read(key), names)
        except IssuanceError as error:
            raise IssuanceError(error.reason, f"{chain}: {error}") from None


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError as error:
        message = f"{path.name} can't be read: {error.strerror}"
        raise IssuanceError(Reason.FILE_UNUSABLE, message) from None
    except UnicodeDecodeError:
        raise IssuanceError(Reason.FILE_UNUSABLE, f"{path.name} is not text (PEM)") from None
