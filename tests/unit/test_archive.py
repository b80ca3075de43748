"""Archives that are damaged or hostile: nothing is written but what was told, nor read."""

import gzip
import io
import random
import tarfile
import tracemalloc
from pathlib import Path

import pytest
from backupkit import manifest, packed, unpacked

from orchestrator.errors import Invalid
from orchestrator.installation import archive
from orchestrator.installation.archive import DATABASE, FILES, MANIFEST, Manifest, member_of
from orchestrator.models import utcnow

KNOWN = frozenset({"ca_file", "master_key_file"})
CA = FILES + "ca_file"
GOOD = {DATABASE: b"SQLite format 3\0" + bytes(50_000), CA: b"a chain"}


def read(data: bytes, directory: Path) -> archive.Contents:
    return archive.read(io.BytesIO(data), directory, KNOWN)


def refuse(data: bytes, directory: Path, words: str) -> None:
    inside = directory / "inside"
    inside.mkdir()
    with pytest.raises(Invalid, match=words):
        read(data, inside)
    assert [path.name for path in directory.rglob("*")] in (["inside"], ["inside", DATABASE])


def good(**changes: bytes) -> bytes:
    members = {**GOOD, **changes}
    return packed((MANIFEST, manifest(members)), *members.items())


def header(name: str, kind: bytes, **fields: object) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.type = kind
    for field, value in fields.items():
        setattr(entry, field, value)
    return entry


def test_what_was_written_is_read(tmp_path: Path) -> None:
    source = tmp_path / "source.db"
    source.write_bytes(GOOD[DATABASE])
    told = Manifest(
        version="0.1.0",
        schema="0001",
        made_at=utcnow(),
        rows={"host": 1},
        members={name: member_of(content) for name, content in GOOD.items()},
    )
    out = io.BytesIO()
    archive.write(out, told, source, {"ca_file": GOOD[CA]})
    assert list(unpacked(out.getvalue())) == [MANIFEST, CA, DATABASE]
    found = read(out.getvalue(), tmp_path)
    assert found.manifest == told
    assert found.files == {"ca_file": GOOD[CA]}
    assert found.database.read_bytes() == GOOD[DATABASE]


def test_a_cut_or_changed_archive_is_refused_wherever_it_is(tmp_path: Path) -> None:
    whole = gzip.compress(gzip.decompress(good()), 0)  # as it is: every octet counts
    chosen = random.Random(7)
    for number in range(60):
        cut = whole[: chosen.randrange(len(whole))]
        refuse(cut, _fresh(tmp_path, f"cut{number}"), "backup")
    end = len(whole) - 8 - tarfile.RECORDSIZE  # what fills the tar's last record says nothing
    for number in range(200):
        place = chosen.randrange(10, end)
        broken = bytearray(whole)
        broken[place] ^= 1 << chosen.randrange(8)
        refuse(bytes(broken), _fresh(tmp_path, f"bit{number}"), "backup")


def _fresh(directory: Path, name: str) -> Path:
    made = directory / name
    made.mkdir()
    return made


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "damaged: empty file"),
        (b"age-encryption.org/v1\n", r"no backup \(is it still encrypted\?\)"),
        (gzip.compress(b""), "damaged|no backup"),
        (gzip.compress(b"not a tar" * 1000), "damaged"),
        (packed(("etc/passwd", b"root")), "this is no backup of Mailfleet"),
        (packed((DATABASE, b"first"), (MANIFEST, manifest({}))), "no backup of Mailfleet"),
        (packed((MANIFEST, b"{}")), "manifest is damaged"),
        (packed((MANIFEST, b"\xff" * 100)), "manifest is damaged"),
        (packed((MANIFEST, b"[" * 100_000)), "manifest is damaged"),
        (packed((MANIFEST, manifest(GOOD))), r"files/ca_file is missing"),
        (packed((MANIFEST, manifest(GOOD, extra=1)), *GOOD.items()), "manifest is damaged"),
    ],
    # What is compressed carries the time, and a name of a test must not.
    ids=(
        *("empty", "encrypted", "nothing", "no-tar", "foreign", "out-of-order", "no-fields"),
        *("no-json", "deep", "member-missing", "unknown-field"),
    ),
)
def test_what_is_no_backup_is_refused(tmp_path: Path, data: bytes, words: str) -> None:
    refuse(data, tmp_path, words)


@pytest.mark.parametrize(
    "name",
    ["../escaped", "/tmp/escaped", FILES + "../../escaped", FILES + "known_hosts_file", "x\x1b[2J"],
)
def test_names_that_are_not_expected_are_refused(tmp_path: Path, name: str) -> None:
    told = {**GOOD, name: b"escaped"}
    refuse(packed((MANIFEST, manifest(told)), *told.items()), _fresh(tmp_path, "told"), "holds '")
    untold = packed((MANIFEST, manifest(GOOD)), (name, b"escaped"), *GOOD.items())
    refuse(untold, _fresh(tmp_path, "untold"), "a member that it doesn't tell of")


@pytest.mark.parametrize(
    "kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE]
)
@pytest.mark.parametrize("name", [CA, DATABASE])
def test_only_plain_files_are_read(tmp_path: Path, kind: bytes, name: str) -> None:
    told = {**GOOD, name: b""}
    odd = header(name, kind, linkname="/etc/passwd")
    others = [(n, c) for n, c in GOOD.items() if n != name]
    data = packed((MANIFEST, manifest(told)), (odd, b""), *others)
    refuse(data, tmp_path, "is no plain file")


def test_a_manifest_that_is_a_link_is_refused(tmp_path: Path) -> None:
    link = header(MANIFEST, tarfile.SYMTYPE, linkname="/etc/passwd")
    refuse(packed((link, b"")), tmp_path, "manifest.json is no plain file")


def test_a_member_comes_once_and_as_it_was_told(tmp_path: Path) -> None:
    told = (MANIFEST, manifest(GOOD))
    twice = packed(told, *GOOD.items(), *GOOD.items())
    refuse(twice, _fresh(tmp_path, "twice"), "a member that it doesn't tell of")
    for name, content in GOOD.items():
        longer = {**GOOD, name: content + b"x"}
        refuse(packed(told, *longer.items()), _fresh(tmp_path, f"l{len(name)}"), "doesn't tell of")
        other = {**GOOD, name: content[:-1] + b"x"}
        refuse(packed(told, *other.items()), _fresh(tmp_path, f"o{len(name)}"), "not what was")


@pytest.mark.parametrize("size", [-1, archive.SMALL + 1, 2**62])
def test_sizes_are_bounded(tmp_path: Path, size: int) -> None:
    for name in GOOD:
        members = {n: {"size": len(c), "sha256": "0"} for n, c in GOOD.items()}
        members[name]["size"] = size
        if name == DATABASE and size == archive.SMALL + 1:
            continue  # a database may be so large
        data = packed((MANIFEST, manifest({}, members=members)), *GOOD.items())
        refuse(data, _fresh(tmp_path, name.replace("/", "-")), "too much to unpack|damaged")


def test_a_manifest_is_small(tmp_path: Path) -> None:
    data = packed((MANIFEST, b" " * (archive.SMALL + 1)))
    refuse(data, tmp_path, f"manifest.json has {archive.SMALL + 1} octets")


@pytest.mark.parametrize("where", ["name", "before", "behind", "end"])
def test_no_more_is_read_than_is_told(tmp_path: Path, where: str) -> None:
    bomb = bytes(300 * 1024 * 1024)
    told = (MANIFEST, manifest(GOOD))
    match where:
        case "name":  # a name that is given as a member of its own
            long = tarfile.TarInfo("x" * len(bomb))
            data = packed((long, b""))
        case "before":
            data = packed(("first", bomb), told, *GOOD.items())
        case "behind":
            data = packed(told, *GOOD.items(), ("last", bomb))
        case _:
            data = good() + gzip.compress(bomb, 1)
    del bomb
    tracemalloc.start()
    refuse(data, tmp_path, "more than it tells of|no backup of Mailfleet|doesn't tell of")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 16 * 1024 * 1024
