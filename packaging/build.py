"""Builds Mailfleet's Debian package: `make deb`.

The package holds a virtual environment without its own Python: all libraries, from the index's
wheels for the Debian's Python, found through ``pyvenv.cfg`` by whatever is started as
/usr/lib/mailfleet/bin/python3, processes that Mailfleet itself starts included. Which versions
went in stands in its /usr/share/doc/mailfleet/requirements.txt; ``PIP_CONSTRAINT`` naming that
file has the same ones taken again. Prints the package's path. What was built is kept beside it
and built again only when something that went in has changed; `rm -r dist` forgets it.
"""

import argparse
import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterable
from importlib.metadata import distributions
from pathlib import Path

from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
HERE = ROOT / "packaging"
DIST = ROOT / "dist"
CACHE = DIST / ".build"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
#: Each Debian's Python, and the one after it.
PYTHONS = {"12": ("3.11", "3.12"), "13": ("3.13", "3.14")}
#: Wheels for any glibc up to Debian 12's.
PLATFORMS = [f"manylinux_2_{minor}_x86_64" for minor in range(36, 4, -1)]
#: Dependencies of which the index has no wheel. They are pure Python.
SOURCE_ONLY = ("dkimpy",)
OUR_SOURCES = ("orchestrator", "api", "templates", "inventory")
OTHERS = ("packaging", "docs", "pyproject.toml", "README.md", "CHANGELOG.md", "LICENSE")
#: Of dependencies: programs, whose first line names this machine's Python, and what is for their
#: developers.
USELESS = ("bin", "share", "include", "**/tests", "**/*.map")
PRIVATE = "usr/lib/mailfleet"
DOC = "usr/share/doc/mailfleet"


def build(debian: str, version: str) -> Path:
    """Make the package of that version for a Debian release; gives its path."""
    # An upgrade of the machine to the next Debian is an upgrade of the package.
    full = f"{version}~deb12" if debian == "12" else version
    package = DIST / f"mailfleet_{full}_amd64.deb"
    inputs = _digest([*OUR_SOURCES, *OTHERS], full, _constraints())
    noted = CACHE / f"{package.name}.inputs"
    if package.exists() and noted.exists() and noted.read_text() == inputs:
        return package
    libraries = _libraries(debian)
    with tempfile.TemporaryDirectory(dir=CACHE) as temporary:
        root = Path(temporary) / "root"
        shutil.copytree(libraries, root / PRIVATE / "lib" / f"python{PYTHONS[debian][0]}")
        _lay_out(root, debian, Path(temporary))
        _settle(root)
        _describe(root, debian, full)
        made = Path(temporary) / package.name
        # xz would make it a sixth smaller in half a minute more.
        command = ["dpkg-deb", "--root-owner-group", "-Zzstd", "-z10", "--build"]
        _run([*command, str(root), str(made)], {"SOURCE_DATE_EPOCH": _epoch()})
        shutil.move(made, package)
    noted.write_text(inputs)
    return package


def _libraries(debian: str) -> Path:
    """The dependencies for a Debian's Python, as ``site-packages`` in a directory."""
    python = PYTHONS[debian][0]
    key = [PROJECT["dependencies"], SOURCE_ONLY, PLATFORMS, USELESS, _constraints()]
    directory = CACHE / f"debian{debian}-{hashlib.sha256(repr(key).encode()).hexdigest()[:16]}"
    if directory.exists():
        return directory
    for outdated in CACHE.glob(f"debian{debian}-*"):
        shutil.rmtree(outdated)
    with tempfile.TemporaryDirectory(dir=CACHE) as temporary:
        wheels, site = Path(temporary) / "wheels", Path(temporary) / "lib" / "site-packages"
        sources = [d for d in PROJECT["dependencies"] if Requirement(d).name in SOURCE_ONLY]
        _pip("wheel", "--no-deps", "--wheel-dir", str(wheels), *sources)
        target = ["--python-version", python, "--implementation", "cp"]
        for abi in (f"cp{python.replace('.', '')}", "abi3", "none"):
            target += ["--abi", abi]
        for platform in PLATFORMS:
            target += ["--platform", platform]
        _pip(
            *("install", "--no-compile", "--only-binary=:all:", "--target", str(site)),
            *("--find-links", str(wheels), *target, *PROJECT["dependencies"]),
        )
        for path in [found for pattern in USELESS for found in site.glob(pattern)]:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        _check_complete(site, python)
        site.parent.replace(directory)
    return directory


def _check_complete(site: Path, python: str) -> None:
    # pip asks this Python, not the target's, whether a dependency is meant for it.
    environment = {str(name): str(value) for name, value in default_environment().items()}
    environment |= {"python_version": python, "python_full_version": f"{python}.0", "extra": ""}
    found = list(distributions(path=[str(site)]))
    names = {canonicalize_name(one.name) for one in found}
    for one in found:
        for wanted in map(Requirement, one.requires or ()):
            meant = wanted.marker is None or wanted.marker.evaluate(environment)
            if meant and canonicalize_name(wanted.name) not in names:
                sys.exit(f"{one.name} needs {wanted} on Python {python}: add it to pyproject.toml")


def _lay_out(root: Path, debian: str, temporary: Path) -> None:
    python = PYTHONS[debian][0]
    site = root / PRIVATE / "lib" / f"python{python}" / "site-packages"
    _pip("wheel", "--no-deps", "--wheel-dir", str(temporary), str(ROOT))
    # It is pure Python: installing it is unpacking it.
    (wheel,) = temporary.glob("*.whl")
    shutil.unpack_archive(wheel, site, "zip")
    (root / PRIVATE / "bin").mkdir()
    (root / PRIVATE / "bin" / "python3").symlink_to("/usr/bin/python3")
    (root / PRIVATE / "pyvenv.cfg").write_text(
        f"home = /usr/bin\ninclude-system-site-packages = false\nversion = {python}\n"
    )
    installed = {
        "launcher.py": "usr/bin/mailfleet",
        "mailfleet.toml": "etc/mailfleet/mailfleet.toml",
        "mailfleet-api.service": "usr/lib/systemd/system/",
        "mailfleet-reconciler@.service": "usr/lib/systemd/system/",
        "sysusers.conf": "usr/lib/sysusers.d/mailfleet.conf",
        "tmpfiles.conf": "usr/lib/tmpfiles.d/mailfleet.conf",
        "nginx.conf": f"{DOC}/examples/",
        "Caddyfile": f"{DOC}/examples/",
        "copyright": f"{DOC}/",
    }
    for source, target in installed.items():
        path = root / target / (source if target.endswith("/") else "")
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(HERE / source, path)
    (root / "usr/bin/reconcile").symlink_to("mailfleet")
    for page in (ROOT / "docs").glob("*.md"):
        shutil.copy(page, root / DOC)
    shutil.copy(ROOT / "CHANGELOG.md", root / DOC)
    lines = sorted(f"{one.name}=={one.version}\n" for one in distributions(path=[str(site)]))
    (root / DOC / "requirements.txt").write_text("".join(lines))


def _settle(root: Path) -> None:
    """Modes are the same whoever builds it."""
    for path in [root, *root.rglob("*")]:
        if not path.is_symlink():
            program = path.is_dir() or path.parent == root / "usr/bin"
            path.chmod(0o755 if program else 0o644)


def _describe(root: Path, debian: str, version: str) -> None:
    size = sum(path.lstat().st_size for path in root.rglob("*")) // 1024
    python, following = PYTHONS[debian]
    values = {"version": version, "size": str(size), "python": python, "next": following}
    text = re.sub(r"@(\w+)@", lambda found: values[found[1]], (HERE / "control").read_text())
    (root / "DEBIAN").mkdir(mode=0o755)
    (root / "DEBIAN/control").write_text(text)
    (root / "DEBIAN/conffiles").write_text("/etc/mailfleet/mailfleet.toml\n")
    for script in ("postinst", "prerm", "postrm"):
        shutil.copy(HERE / script, root / "DEBIAN")
        (root / "DEBIAN" / script).chmod(0o755)


def _digest(sources: Iterable[str], *others: str) -> str:
    digest = hashlib.sha256(repr(others).encode())
    for source in sources:
        for path in sorted([ROOT / source, *(ROOT / source).rglob("*")]):
            if path.is_file() and "__pycache__" not in path.parts:
                digest.update(f"{path.relative_to(ROOT)}\0{path.stat().st_size}\0".encode())
                digest.update(path.read_bytes())
    return digest.hexdigest()


def _constraints() -> str:
    named = os.environ.get("PIP_CONSTRAINT", "")
    return Path(named).read_text() if named else ""


def _epoch() -> str:
    """When the last commit was made, in seconds since 1970."""
    log = ["git", "-C", str(ROOT), "log", "-1", "--format=%ct"]
    return subprocess.run(log, check=True, capture_output=True, text=True).stdout.strip()


def _pip(*arguments: str) -> None:
    _run([sys.executable, "-m", "pip", "-qq", "--no-input", *arguments], {})


def _run(command: list[str], environment: dict[str, str]) -> None:
    # Standard output is for the package's path alone.
    subprocess.run(command, check=True, stdout=sys.stderr, env={**os.environ, **environment})


def main() -> None:
    """Build what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, epilog="Example: make deb DEBIAN=12")
    parser.add_argument("--debian", choices=PYTHONS, default="13")
    parser.add_argument("--version", default=PROJECT["version"], help="of the package")
    chosen = parser.parse_args()
    if not re.fullmatch(r"[0-9][0-9A-Za-z.+~]*", chosen.version):
        parser.error(f"not a version of a Debian package: {chosen.version}")
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        sys.stdout.write(f"{build(chosen.debian, chosen.version)}\n")


if __name__ == "__main__":
    main()
