"""One generation of a host's files, packed so that it travels in one round trip."""

import base64
import io
import tarfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files

from orchestrator.hostspec import MailStore, RenderedFile

SCRIPT = files("orchestrator.hosts").joinpath("scripts/apply.sh").read_text()

#: Unpacks a bundle from stdin into a directory that only root can read, and runs it.
COMMAND = (
    "umask 077 && mkdir -p /var/lib/mailfleet && d=$(mktemp -d /var/lib/mailfleet/stage.XXXXXX)"
    ' && if base64 -d | tar -xpzf - -C "$d"; then exec bash "$d/apply" "$d"; '
    'else rm -rf "$d"; exit 1; fi'
)


@dataclass(frozen=True)
class Bundle:
    """What one push carries.

    ``digests`` are written per daemon once its reload succeeded, and for ``sessions`` once
    those of former logins are cut. ``purges`` is mail that goes, unless a login of the host's
    is for it when all is in force. The scripts are shell;
    ``validate`` finds the staged tree in ``$FILES``. With ``back_to`` the host goes back to
    that earlier generation, by what it kept of those since; then the bundle holds no files.
    """

    generation: int
    changed: Sequence[RenderedFile]
    delete: Sequence[str]
    digests: Mapping[str, str]
    validate: str
    reload: str
    smoke: str
    purges: Sequence[MailStore] = ()
    back_to: int | None = None

    def pack(self) -> str:
        """The bundle as base64 text of a gzipped tar archive."""
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w:gz", compresslevel=1) as archive:
            _add(archive, "apply", SCRIPT)
            _add(archive, "generation", f"{self.generation}\n")
            if self.back_to is not None:
                _add(archive, "back_to", f"{self.back_to}\n")
            _add(archive, "manifest", "".join(_manifest_line(file) for file in self.changed))
            _add(archive, "delete", "".join(f"{path}\n" for path in self.delete))
            _add(archive, "purges", "".join(f"{store.home}\n" for store in self.purges))
            for name in ("validate", "reload", "smoke"):
                _add(archive, name, getattr(self, name))
            for daemon, digest in self.digests.items():
                _add(archive, f"digests/{daemon}", f"{digest}\n")
            _add(archive, "files/")
            for file in self.changed:
                _add(archive, f"files{file.path}", file.content, file)
        return base64.b64encode(buffer.getvalue()).decode()


def _manifest_line(file: RenderedFile) -> str:
    return f"{int(file.lookup_table)}\t{int(not file.secret)}\t{file.path}\n"


def _add(
    archive: tarfile.TarFile, name: str, text: str = "", file: RenderedFile | None = None
) -> None:
    content = text.encode()
    entry = tarfile.TarInfo(name)
    entry.size = len(content)
    entry.mtime = int(time.time())
    entry.mode = 0o600
    if name.endswith("/"):
        entry.type, entry.mode = tarfile.DIRTYPE, 0o700
    if file is not None:
        # tar looks the names up on the host, whose numbers are its own.
        entry.mode, entry.uname, entry.gname = file.mode, file.owner, file.group
    archive.addfile(entry, io.BytesIO(content))
