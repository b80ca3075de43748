"""A backup's format: a gzip'd tar of a manifest, a SQLite database and files.

The manifest comes first and tells of each other member its size and digest. A reader takes
nothing else: no name of a member ever becomes a path, and no more is read than was told.
"""

import gzip
import hashlib
import io
import tarfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from shutil import disk_usage
from typing import Annotated, BinaryIO

import msgspec

from orchestrator.errors import Invalid

#: Rises when an older reader would misunderstand.
FORMAT = 1
MANIFEST, DATABASE, FILES = "manifest.json", "mailfleet.db", "files/"
#: Octets of the manifest, and of one file: keys, tokens and chains are far smaller.
SMALL = 1024 * 1024
#: A member's header, and what fills its last block; tar ends with blocks of zeros.
BLOCKS = 16 * tarfile.BLOCKSIZE + tarfile.RECORDSIZE
CHUNK = 64 * 1024

#: Shown as it was read: nothing in it moves a terminal's cursor.
Word = Annotated[str, msgspec.Meta(pattern=r"^[0-9A-Za-z.+-]{1,64}$")]
Moment = Annotated[datetime, msgspec.Meta(tz=True)]


class Member(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a member must be: octets, and SHA-256 in hexadecimal."""

    size: int
    sha256: str


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a backup is: by which Mailfleet, of which schema and moment (UTC), and what is in it.

    ``rows`` are counted by table, ``members`` by name.
    """

    format: int = FORMAT
    version: Word
    schema: Word
    made_at: Moment
    rows: dict[str, int]
    members: dict[str, Member]

    @property
    def files(self) -> list[str]:
        """The settings whose files are in it."""
        return sorted(name.removeprefix(FILES) for name in self.members if name != DATABASE)


class _Envelope(msgspec.Struct):
    """All that is read of a manifest before its format is known."""

    format: int


@dataclass(frozen=True)
class Contents:
    """A backup that was read; ``files`` by setting."""

    manifest: Manifest
    database: Path
    files: Mapping[str, bytes]


def member_of(content: bytes) -> Member:
    """How a file is told of in the manifest."""
    return Member(len(content), hashlib.sha256(content).hexdigest())


def database_member(path: Path) -> Member:
    """How the database is told of in the manifest."""
    with path.open("rb") as file:
        return Member(path.stat().st_size, hashlib.file_digest(file, "sha256").hexdigest())


def write(out: BinaryIO, manifest: Manifest, database: Path, files: Mapping[str, bytes]) -> None:
    """Write a backup of what the manifest tells.

    :raises OSError: when ``out`` doesn't take it.
    """
    told = msgspec.json.format(msgspec.json.encode(manifest), indent=2) + b"\n"
    moment = int(manifest.made_at.timestamp())
    with (
        gzip.GzipFile(fileobj=out, mode="wb", filename="", mtime=moment) as packed,
        tarfile.open(fileobj=packed, mode="w|") as tar,
        database.open("rb") as source,
    ):
        small = {FILES + name: content for name, content in files.items()}
        for name, content in {MANIFEST: told, **small}.items():
            tar.addfile(_entry(name, len(content), moment), io.BytesIO(content))
        tar.addfile(_entry(DATABASE, manifest.members[DATABASE].size, moment), source)


def _entry(name: str, size: int, moment: int) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode, entry.mtime = size, 0o600, moment
    return entry


class _Bounded:
    """A stream of which no more is read than ``left`` allows; who knows of more raises it."""

    def __init__(self, stream: gzip.GzipFile) -> None:
        self._stream = stream
        self.left = SMALL + BLOCKS

    def read(self, size: int) -> bytes:
        data = self._stream.read(min(size, self.left + 1))
        self.left -= len(data)
        if self.left < 0:
            raise Invalid("the backup is damaged: it holds more than it tells of")
        return data


def read(source: BinaryIO, directory: Path, known: frozenset[str]) -> Contents:
    """Read a backup; its database is written into ``directory``.

    :param known: the settings whose files may be in it.
    :raises Invalid: when it is no backup, is damaged, is of a newer format, or holds what it
        should not.
    """
    with gzip.GzipFile(fileobj=source, mode="rb") as unpacked:
        try:
            unpacked.peek(1)
        except (gzip.BadGzipFile, EOFError):
            raise Invalid("this is no backup (is it still encrypted?)") from None
        bounded = _Bounded(unpacked)
        try:
            with tarfile.open(fileobj=bounded, mode="r|") as tar:  # type: ignore[call-overload]
                return _read(tar, bounded, directory, known)
        except (tarfile.TarError, gzip.BadGzipFile, EOFError, ValueError, zlib.error) as error:
            raise Invalid(f"the backup is damaged: {error}") from None


def _read(
    tar: tarfile.TarFile, bounded: _Bounded, directory: Path, known: frozenset[str]
) -> Contents:
    first = tar.next()
    if first is None or first.name != MANIFEST:
        raise Invalid("this is no backup of Mailfleet")
    manifest = _manifest(_content(tar, first))
    _check(manifest, directory, known)
    wanted = dict(manifest.members)
    bounded.left = sum(member.size + BLOCKS for member in wanted.values()) + BLOCKS
    files: dict[str, bytes] = {}
    while (entry := tar.next()) is not None:
        member = wanted.pop(entry.name, None)
        if member is None or entry.size != member.size:
            raise Invalid("the backup is damaged: it holds a member that it doesn't tell of")
        if entry.name == DATABASE:
            _unpack(tar, entry, member, directory / DATABASE)
        else:
            files[entry.name.removeprefix(FILES)] = _verified(_content(tar, entry), member)
    if wanted:
        raise Invalid(f"the backup is damaged: {min(wanted)} is missing")
    while bounded.read(CHUNK):  # to the end, where gzip's own digest stands
        pass
    return Contents(manifest, directory / DATABASE, files)


def _manifest(text: bytes) -> Manifest:
    try:
        if (found := msgspec.json.decode(text, type=_Envelope).format) > FORMAT:
            raise Invalid(f"the backup is of format {found}: restore it by a newer Mailfleet")
        return msgspec.json.decode(text, type=Manifest)
    except msgspec.DecodeError as error:
        raise Invalid(f"the backup's manifest is damaged: {error}") from None


def _check(manifest: Manifest, directory: Path, known: frozenset[str]) -> None:
    names = {FILES + name for name in known}
    for name, member in manifest.members.items():
        if name != DATABASE and name not in names:
            raise Invalid(f"the backup holds {name!r}, which is no file of Mailfleet's settings")
        most = disk_usage(directory).free if name == DATABASE else SMALL
        if not 0 <= member.size <= most:
            raise Invalid(f"{name} has {member.size} octets in the backup: too much to unpack here")
    if DATABASE not in manifest.members:
        raise Invalid("the backup holds no database")


def _opened(tar: tarfile.TarFile, entry: tarfile.TarInfo) -> BinaryIO:
    plain = entry.type in (tarfile.REGTYPE, tarfile.AREGTYPE) and not entry.issparse()
    file = tar.extractfile(entry) if plain else None
    if file is None:
        raise Invalid(f"the backup is damaged: {entry.name} is no plain file")
    return file  # type: ignore[return-value]


def _content(tar: tarfile.TarFile, entry: tarfile.TarInfo) -> bytes:
    if entry.size > SMALL:
        raise Invalid(f"the backup is damaged: {entry.name} has {entry.size} octets")
    return _opened(tar, entry).read()


def _verified(content: bytes, member: Member) -> bytes:
    if member_of(content) != member:
        raise Invalid("the backup is damaged: a file is not what was backed up")
    return content


def _unpack(tar: tarfile.TarFile, entry: tarfile.TarInfo, member: Member, path: Path) -> None:
    source = _opened(tar, entry)
    with path.open("xb") as file:
        while chunk := source.read(CHUNK):
            file.write(chunk)
    if database_member(path) != member:
        raise Invalid("the backup is damaged: the database is not what was backed up")
