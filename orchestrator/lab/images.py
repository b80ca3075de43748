"""Builds the lab's images from Debian's own packages and caches them by their recipe."""

import hashlib
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from orchestrator.lab.errors import LabError
from orchestrator.lab.topology import Topology

#: What every machine has: it boots, and it can be looked at.
BASE = ("systemd", "systemd-sysv", "dbus", "iproute2")

#: What a bare host must be able to install without a network. Kept in apt's own cache.
MAIL_PACKAGES = (
    *("postfix", "dovecot-core", "dovecot-imapd", "dovecot-lmtpd", "dovecot-sieve"),
    *("dovecot-managesieved", "opendkim", "opendkim-tools", "ca-certificates", "ssl-cert"),
    *("libsasl2-modules", "sasl2-bin", "bind9-host", "curl"),
)

#: The same for a machine that is to carry the control plane, as docs/production.md has it.
CONTROL_PACKAGES = (
    *("python3", "openssh-client", "libstdc++6", "postgresql", "nginx", "swaks"),
    # What the other pages look with.
    *("bind9-dnsutils", "openssl", "age"),
)

# Parts of packages that a server does without; the same as Debian's slim images leave out.
_DPKG_OPTIONS = (
    "force-unsafe-io",  # a lab that loses power is built again
    "path-exclude=/usr/share/man/*",
    "path-exclude=/usr/share/info/*",
    "path-exclude=/usr/share/locale/*",
    "path-exclude=/usr/share/doc/*",
    "path-include=/usr/share/doc/*/copyright",
)

# An identity belongs to a container, never to an image: each makes its own at first boot.
_NO_IDENTITY = 'rm -f "$1"/etc/ssh/ssh_host_*_key* && : > "$1/etc/machine-id"'


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """An image: a release of Debian, the packages installed and those only downloaded."""

    name: str
    system: str
    include: tuple[str, ...]
    cached: tuple[str, ...] = ()
    hooks: tuple[str, ...] = (_NO_IDENTITY,)

    @property
    def suite(self) -> str:
        """The name of the release: ``bookworm`` for ``debian12``."""
        return {"debian12": "bookworm", "debian13": "trixie"}[self.system]

    @property
    def tag(self) -> str:
        """The image's full name; it changes whenever the recipe does."""
        described = json.dumps([asdict(self), _DPKG_OPTIONS], sort_keys=True)
        return f"{self.name}:{hashlib.sha256(described.encode()).hexdigest()[:12]}"

    def command(self, target: Path) -> list[str]:
        """Return the command that builds it as a tar file.

        No mirror is named: mmdebstrap takes Debian's default, with its security archive.
        """
        command = ["mmdebstrap", "--variant=minbase", "--components=main", "--format=tar"]
        command += [f"--include={','.join(self.include)}"]
        command += ['--aptopt=Acquire::Languages "none"']
        command += [f"--dpkgopt={option}" for option in _DPKG_OPTIONS]
        if self.cached:
            # Downloaded last, so that mmdebstrap's own cleaning does not take them away, and
            # with the lists that apt-get needs to find them.
            names = " ".join(self.cached)
            command += ["--skip=cleanup/apt"]
            command += [
                '--customize-hook=chroot "$1" apt-get --yes --download-only '
                f"--no-install-recommends install {names}"
            ]
        command += [f"--customize-hook={hook}" for hook in self.hooks]
        return [*command, self.suite, str(target)]


def bare(system: str) -> Recipe:
    """Return the recipe of a bare host: ``debian12`` or ``debian13``."""
    return Recipe(
        name=f"mailfleet-lab/{system}",
        system=system,
        include=(*BASE, "openssh-server"),
        cached=MAIL_PACKAGES if system == "debian12" else (*MAIL_PACKAGES, *CONTROL_PACKAGES),
    )


NS = Recipe(
    name="mailfleet-lab/ns",
    system="debian13",
    include=(*BASE, "knot", "knot-dnsutils", "unbound"),
)

WORLD = Recipe(
    name="mailfleet-lab/world",
    system="debian12",
    include=(
        *(*BASE, "postfix", "dovecot-imapd", "dovecot-lmtpd", "ca-certificates", "python3"),
        *("opendkim", "opendmarc", "publicsuffix", "bind9-host"),
    ),
)


def of(topology: Topology) -> list[Recipe]:
    """Return the recipes of all machines of the fleet, each once."""
    bares = {host.os: bare(host.os) for host in topology.hosts}
    return [*bares.values(), WORLD, NS]


def ensure(
    client: Any, recipes: Iterable[Recipe], workdir: Path, note: Callable[[str], None]
) -> None:
    """Build what is missing, two at a time, and remove images of earlier recipes.

    :param workdir: where the tar files are written meanwhile; removed again.
    :raises LabError: with the end of the log when a build fails.
    """
    wanted = list(recipes)
    present = {tag for image in client.images.list() for tag in image.tags}
    missing = [recipe for recipe in wanted if recipe.tag not in present]
    if missing:
        if not shutil.which("mmdebstrap"):
            raise LabError("mmdebstrap is not installed: apt-get install mmdebstrap")
        _remove_left_over(workdir)
        # The two slowest first would leave a core idle at the end; as given is good enough.
        with ThreadPoolExecutor(max_workers=min(2, os.cpu_count() or 1)) as pool:
            for done in pool.map(lambda recipe: _build(client, recipe, workdir, note), missing):
                note(f"built {done}")
    names = {recipe.name: recipe.tag for recipe in wanted}
    for tag in present:
        if tag.split(":")[0] in names and tag not in names.values():
            _remove(client, tag)


def remove_all(client: Any) -> None:
    """Remove every image of the lab, of whatever recipe."""
    for image in client.images.list():
        for tag in image.tags:
            if tag.startswith("mailfleet-lab/"):
                _remove(client, tag)


def _build(client: Any, recipe: Recipe, workdir: Path, note: Callable[[str], None]) -> str:
    note(f"building {recipe.tag} from Debian {recipe.suite} packages")
    with tempfile.TemporaryDirectory(prefix="image-", dir=workdir) as directory:
        tar = Path(directory) / "root.tar"
        run(f"building {recipe.name}", recipe.command(tar), Path(directory))
        name, tag = recipe.tag.split(":")
        client.api.import_image_from_file(str(tar), repository=name, tag=tag)
    return recipe.tag


def run(what: str, command: Sequence[str], workdir: Path) -> None:
    """Run one step of a build; it ends with this process.

    :param what: what it is a step of, for the error.
    :param workdir: for its temporary files.
    :raises LabError: with the end of its log when it fails.
    """
    done = subprocess.run(
        # A build must not go on behind the back of whoever was killed.
        ["setpriv", "--pdeathsig=TERM", *command],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        check=False,
        env={**os.environ, "TMPDIR": str(workdir), "LC_ALL": "C.UTF-8"},
    )
    if done.returncode != 0:
        tail = "\n".join(done.stdout.splitlines()[-15:])
        raise LabError(f"{what} failed; the end of its log:\n{tail}")


def _remove_left_over(workdir: Path) -> None:
    """Remove what an interrupted build left: whoever holds the state's lock builds alone."""
    mounts = Path("/proc/self/mounts").read_text()
    for directory in workdir.glob("image-*"):
        # A build that died badly may have left the machine's own /dev mounted in there.
        if f" {directory}/" not in mounts:
            shutil.rmtree(directory, ignore_errors=True)


def _remove(client: Any, tag: str) -> None:
    import docker

    try:
        client.images.remove(tag)
    except docker.errors.APIError:
        return  # Still used by a container that is about to be replaced; the next run gets it.
