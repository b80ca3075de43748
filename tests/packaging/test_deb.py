"""The Debian package, built for Debian 12, whose Python this machine has: what is in it works."""

import os
import re
import shutil
import stat
import subprocess
import tarfile
import tempfile
import tomllib
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import msgspec
import pytest
from labkit import BIN, ROOT

from orchestrator import settings
from orchestrator.settings import Settings

# The first build fetches all libraries.
pytestmark = pytest.mark.timeout(1200)

PRIVATE = "./usr/lib/mailfleet"
SITE = "lib/python3.11/site-packages"
#: The most of systemd's ten points of exposure that a unit may have, in tenths.
EXPOSURE = "15"
UNITS = ("mailfleet-api.service", "mailfleet-reconciler@.service")
#: What the package's Python says of itself, and one that it starts.
LOOKS = """
import subprocess, sys
from importlib.metadata import entry_points
from orchestrator import db, settings

print(settings.BUILT_IN_TEMPLATES)
print(db.MIGRATIONS)
(ours,) = entry_points(group="pyinfra.connectors", name="mailfleet")
print(ours.load().__module__)
print(subprocess.check_output(
    [sys.executable, "-c", "import orchestrator; print(orchestrator.__file__)"], text=True
).strip())
print([path for path in sys.path if "-packages" in path])
"""


def build(*arguments: str) -> Path:
    """The package's path; built if need be."""
    command = [str(BIN / "python"), str(ROOT / "packaging/build.py"), *arguments]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return Path(done.stdout.strip())


@pytest.fixture(scope="module")
def deb() -> Path:
    """The package for Debian 12."""
    return build("--debian", "12")


@pytest.fixture(scope="module")
def members(deb: Path) -> dict[str, tarfile.TarInfo]:
    """What it installs."""
    done = subprocess.run(["dpkg-deb", "--fsys-tarfile", deb], stdout=subprocess.PIPE, check=True)
    with tarfile.open(fileobj=BytesIO(done.stdout)) as archive:
        return {member.name: member for member in archive.getmembers()}


@pytest.fixture(scope="module")
def root(deb: Path) -> Iterator[Path]:
    """The package's files in a directory that everybody may enter."""
    with tempfile.TemporaryDirectory(prefix="mailfleet-deb-") as directory:
        Path(directory).chmod(0o755)
        subprocess.run(["dpkg-deb", "--raw-extract", deb, f"{directory}/root"], check=True)
        yield Path(directory) / "root"


def program(root: Path, *argv: str) -> list[str]:
    """How a command of the extracted package is started where it is not installed."""
    python = root / "usr/lib/mailfleet/bin/python3"
    return [str(python), "-I", str(root / "usr/bin" / argv[0]), *argv[1:]]


def run(root: Path, *argv: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a command as a user without rights, as the package's own one has none."""
    user = "nobody" if os.geteuid() == 0 else None
    return subprocess.run(
        program(root, *argv),
        user=user,
        group="nogroup" if user else None,
        extra_groups=[] if user else None,
        cwd=root,
        env={"PATH": "/usr/bin:/bin", **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.fixture
def config(root: Path) -> Iterator[Path]:
    """The package's settings, with a state directory of their own."""
    with tempfile.TemporaryDirectory(prefix="mailfleet-state-") as directory:
        if os.geteuid() == 0:
            shutil.chown(directory, "nobody", "nogroup")
        path = root / "mailfleet.toml"
        text = (root / "etc/mailfleet/mailfleet.toml").read_text()
        path.write_text(text.replace("/var/lib/mailfleet", directory))
        path.chmod(0o644)
        yield path


def test_it_is_built_once(deb: Path) -> None:
    before = deb.stat()
    assert build("--debian", "12") == deb
    assert (deb.stat().st_ino, deb.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_it_says_what_it_is_and_needs(deb: Path) -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert deb.name == f"mailfleet_{version}~deb12_amd64.deb"
    told = subprocess.run(["dpkg-deb", "--field", deb], stdout=subprocess.PIPE, check=True)
    fields = dict(re.findall(r"^([\w-]+): (.*)$", told.stdout.decode(), re.MULTILINE))
    assert (fields["Package"], fields["Architecture"]) == ("mailfleet", "amd64")
    assert fields["Version"] == f"{version}~deb12"
    needed = fields["Depends"].split(", ")
    assert {"python3 (>= 3.11)", "python3 (<< 3.12)", "systemd", "openssh-client"} <= set(needed)
    assert 50_000 < int(fields["Installed-Size"]) < 300_000


def test_everything_is_roots_and_only_roots_to_write(members: dict[str, tarfile.TarInfo]) -> None:
    for name, member in members.items():
        assert (member.uid, member.gid) == (0, 0), name
        if member.issym():
            continue
        program = member.isdir() or name == "./usr/bin/mailfleet"
        assert stat.S_IMODE(member.mode) == (0o755 if program else 0o644), name


def test_what_has_to_be_there_is(members: dict[str, tarfile.TarInfo]) -> None:
    site = f"{PRIVATE}/{SITE}"
    wanted = [
        *(f"./usr/lib/systemd/system/{unit}" for unit in UNITS),
        "./etc/mailfleet/mailfleet.toml",
        "./usr/bin/reconcile",
        "./usr/lib/sysusers.d/mailfleet.conf",
        "./usr/lib/tmpfiles.d/mailfleet.conf",
        "./usr/share/doc/mailfleet/production.md",
        "./usr/share/doc/mailfleet/copyright",
        "./usr/share/doc/mailfleet/examples/nginx.conf",
        "./usr/share/doc/mailfleet/examples/Caddyfile",
        f"{site}/templates/etc/postfix/main.cf.j2",
        f"{site}/inventory/fleet.py",
        f"{site}/api/app.py",
        f"{site}/orchestrator/hosts/scripts/apply.sh",
    ]
    assert [name for name in wanted if name not in members] == []
    migrations = (ROOT / "orchestrator/migrations/versions").glob("*.py")
    packed = f"{site}/orchestrator/migrations/versions"
    assert [file.name for file in migrations if f"{packed}/{file.name}" not in members] == []


def test_what_has_no_place_there_is_not(members: dict[str, tarfile.TarInfo], root: Path) -> None:
    unwanted = re.compile(r"/site-packages/(docker|pytest|mypy|pip|tests|bench)[/-]|\.pyc$")
    assert [name for name in members if unwanted.search(name)] == []
    checkout = str(ROOT).encode()
    named = [path for path in root.rglob("*") if path.is_file() and checkout in path.read_bytes()]
    assert named == []


def test_its_settings_are_ones(root: Path) -> None:
    read = settings.load(root / "etc/mailfleet/mailfleet.toml", {})
    paths = [value for value in msgspec.structs.astuple(read) if isinstance(value, Path)]
    inside = [path for path in paths if path.is_relative_to("/var/lib/mailfleet")]
    assert len(inside) == 6
    assert read.fleet_domain == Settings().fleet_domain  # for the newcomer to choose
    assert (root / "DEBIAN/conffiles").read_text() == "/etc/mailfleet/mailfleet.toml\n"


@pytest.mark.parametrize("command", ["mailfleet", "reconcile"])
def test_its_commands_start(root: Path, command: str) -> None:
    done = run(root, command, "--help", MAILFLEET_CONFIG="/nonexistent")
    assert (done.returncode, done.stderr) == (0, "")
    assert f"Usage: {command}" in done.stdout


def test_its_settings_are_those_of_etc(root: Path) -> None:
    done = run(root, "mailfleet", "hosts", "list")
    assert done.returncode == 1
    assert "/etc/mailfleet/mailfleet.toml" in done.stderr


def test_it_finds_all_that_it_has_and_nothing_else(root: Path) -> None:
    site = root / "usr/lib/mailfleet" / SITE
    done = subprocess.run(
        [root / "usr/lib/mailfleet/bin/python3", "-I", "-c", LOOKS],
        cwd="/",
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines() == [
        str(site / "templates"),
        str(site / "orchestrator/migrations"),
        "orchestrator.hosts.connector",
        str(site / "orchestrator/__init__.py"),
        str([str(site)]),
    ]


def test_an_installation_is_made_with_it(root: Path, config: Path) -> None:
    done = run(root, "mailfleet", "init", MAILFLEET_CONFIG=str(config))
    assert done.returncode == 0, done.stderr
    assert "1. Choose fleet_domain and probe_domain" in done.stdout
    state = settings.load(config, {}).master_key_file.parent
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in state.iterdir()}
    assert set(modes.values()) == {0o600}
    assert {"master.key", "ca.key", "id_ed25519", "operator.token", "mailfleet.db"} <= set(modes)


def test_the_lab_is_said_to_need_more(root: Path) -> None:
    done = run(root, "mailfleet", "lab", "up")
    assert done.returncode == 1
    assert "needs the Python package `docker`" in done.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give up root's rights")
def test_root_becomes_the_packages_user(root: Path, config: Path) -> None:
    launcher = root / "usr/bin/mailfleet"
    text = launcher.read_text()
    try:
        # Where nobody has installed it, there is no such user: nothing is done as root instead.
        launcher.write_text(text.replace('USER = "mailfleet"', 'USER = "mailfleet-missing"'))
        refused = subprocess.run(
            program(root, "mailfleet", "init"), capture_output=True, text=True, check=False
        )
        assert (refused.returncode, refused.stdout) == (1, "")
        assert "there is no user mailfleet-missing" in refused.stderr
        launcher.write_text(text.replace('USER = "mailfleet"', 'USER = "nobody"'))
        subprocess.run(
            program(root, "mailfleet", "init"),
            env={"MAILFLEET_CONFIG": str(config), "PYTHONPATH": "/nonexistent"},
            stdout=subprocess.DEVNULL,
            check=True,
        )
    finally:
        launcher.write_text(text)
    state = settings.load(config, {}).master_key_file.parent
    assert {(path.owner(), path.group()) for path in state.iterdir()} == {("nobody", "nogroup")}


def test_its_scripts_are_shells(root: Path) -> None:
    for name in ("postinst", "prerm", "postrm"):
        script = root / "DEBIAN" / name
        assert stat.S_IMODE(script.stat().st_mode) == 0o755
        subprocess.run(["sh", "-n", script], check=True)


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="tests/e2e asks the lab's hosts")
@pytest.mark.parametrize("name", UNITS)
def test_systemd_accepts_its_units(root: Path, tmp_path: Path, name: str) -> None:
    unit = tmp_path / name.replace("@.", "@1.")
    text = (root / "usr/lib/systemd/system" / name).read_text()
    # Where the commands are not installed, it would say so.
    unit.write_text(text.replace("=/usr/bin/", f"={root}/usr/bin/"))
    for check in (
        ["verify", "--man=no"],
        ["security", "--offline=true", f"--threshold={EXPOSURE}"],
    ):
        done = subprocess.run(
            ["systemd-analyze", "--no-pager", *check, unit],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert unit.name not in done.stderr, done.stderr
