"""One generation of a host's files, packed so that it travels in one round trip."""

import base64
import io
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files

from orchestrator.hostspec import RenderedFile

SCRIPT = files("orchestrator.hosts").joinpath("scripts/apply.sh").read_text()

#: Unpacks a bundle from stdin into a directory that only root can read, and runs it.
COMMAND = (
    "umask 077 && mkdir -p /var/lib/mailfleet && d=$(mktemp -d /var/lib/mailfleet/stage.XXXXXX)"
    ' && base64 -d | tar -xzf - -C "$d" && exec sh "$d/apply" "$d"'
)


@dataclass(frozen=True)
class Bundle:
    """What one push carries.

    ``support`` are files that validation needs and that are already in force; ``digests`` are
    written per daemon once its reload succeeded. The scripts are shell; ``validate`` finds the
    staged tree in ``$FILES``.
    """

    generation: int
    changed: Sequence[RenderedFile]
    support: Sequence[RenderedFile]
    delete: Sequence[str]
    digests: Mapping[str, str]
    validate: str
    reload: str
    smoke: str

    def pack(self) -> str:
        """The bundle as base64 text of a gzipped tar archive."""
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w:gz", compresslevel=1) as archive:
            _add(archive, "apply", SCRIPT)
            _add(archive, "generation", f"{self.generation}\n")
            _add(archive, "manifest", "".join(_manifest_line(file) for file in self.changed))
            _add(archive, "delete", "".join(f"{path}\n" for path in self.delete))
            for name in ("validate", "reload", "smoke"):
                _add(archive, name, getattr(self, name))
            for daemon, digest in self.digests.items():
                _add(archive, f"digests/{daemon}", f"{digest}\n")
            for file in (*self.support, *self.changed):
                _add(archive, f"files{file.path}", file.content)
        return base64.b64encode(buffer.getvalue()).decode()


def _manifest_line(file: RenderedFile) -> str:
    table = int(file.lookup_table)
    return f"{file.mode:o}\t{file.owner}\t{file.group}\t{table}\t{file.path}\n"


def _add(archive: tarfile.TarFile, name: str, text: str) -> None:
    content = text.encode()
    entry = tarfile.TarInfo(name)
    entry.size = len(content)
    entry.mode = 0o600
    archive.addfile(entry, io.BytesIO(content))
