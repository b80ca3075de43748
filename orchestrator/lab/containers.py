"""Creates, repairs and removes the lab's containers, each of which boots systemd."""

import hashlib
import io
import json
import tarfile
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from orchestrator.lab.errors import LabError
from orchestrator.lab.network import LABEL
from orchestrator.lab.topology import Address

CONFIG_LABEL = "mailfleet.lab.config"
ASSETS = Path(__file__).parent / "assets"
BOOT_TIMEOUT = 90.0

# systemd needs a writable cgroup tree. With cgroup v2 Docker mounts it read-only unless the
# container is privileged (which fails where CAP_SYS_RESOURCE is not to be had), and
# CAP_SYS_ADMIN is enough to change that.
INIT = (
    "[ ! -e /sys/fs/cgroup/cgroup.controllers ] || mount -o remount,rw /sys/fs/cgroup; "
    "exec /lib/systemd/systemd"
)
CAPABILITIES = ("SYS_ADMIN", "NET_ADMIN")
SECURITY = ("seccomp=unconfined", "apparmor=unconfined")
TMPFS = ("/run", "/run/lock", "/tmp")  # noqa: S108 - mount points
#: What tells systemd to power off.
STOP_SIGNAL = "SIGRTMIN+3"


@dataclass(frozen=True)
class File:
    """A file that is put into a container before its first boot."""

    content: str
    mode: int = 0o644
    #: Where set, the path is a symbolic link to this target instead.
    link: str = ""


@dataclass(frozen=True, kw_only=True)
class Machine:
    """What one container is to be. ``extra`` are addresses with prefix length, added at boot."""

    name: str
    image: str
    hostname: str
    address: Address
    address6: Address
    extra: tuple[str, ...] = ()
    #: Path in the container → file of this machine, mounted over it read-only.
    mounts: dict[str, str] = field(default_factory=dict)
    files: dict[str, File] = field(default_factory=dict)

    def digest(self, image_id: str) -> str:
        """Return a digest of everything that a new container would have to be made for."""
        described: list[object] = [image_id, self.hostname, str(self.address), str(self.address6)]
        # With their text: a file that is replaced on the host stays the old one when mounted.
        described += [[to, Path(source).read_text()] for to, source in self.mounts.items()]
        files = [(path, f.content, f.mode, f.link) for path, f in sorted(all_files(self).items())]
        return hashlib.sha256(json.dumps([described, files, INIT]).encode()).hexdigest()[:16]


def container_name(network: str, machine: str) -> str:
    """Return the Docker name of a machine of the lab."""
    return f"{network}-{machine}"


def all_files(machine: Machine) -> dict[str, File]:
    """Return a machine's files with those that every machine has: addresses and host keys."""
    wants = "/etc/systemd/system/multi-user.target.wants/lab-boot.service"
    return {
        "/etc/lab/address": File(f"{machine.address}\n"),
        "/etc/lab/addresses": File("".join(f"{address}\n" for address in machine.extra)),
        "/usr/local/sbin/lab-boot": File(asset("lab-boot"), 0o755),
        "/etc/systemd/system/lab-boot.service": File(asset("lab-boot.service")),
        wants: File("", link="/etc/systemd/system/lab-boot.service"),
        **machine.files,
    }


def asset(name: str) -> str:
    """Return the text of a file of ``assets/``."""
    return (ASSETS / name).read_text()


def archive(files: dict[str, File]) -> bytes:
    """Return a tar archive of the files, owned by root; new directories get mode 0755."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for path, file in files.items():
            info = tarfile.TarInfo(path.lstrip("/"))
            info.mode, info.mtime = file.mode, int(time.time())
            if file.link:
                info.type, info.linkname = tarfile.SYMTYPE, file.link
                tar.addfile(info)
                continue
            data = file.content.encode()
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def ensure(client: Any, machine: Machine, network: Any, state_dir: Path) -> bool:
    """Make the container be what is described, and running; return whether it was made anew.

    A container made from another image or description, or left half made, is replaced.

    :raises LabError: when a container of that name belongs to somebody else.
    """
    import docker

    name = container_name(network.name, machine.name)
    digest = machine.digest(client.images.get(machine.image).id)
    try:
        container = client.containers.get(name)
    except docker.errors.NotFound:
        container = None
    if container is not None:
        if container.labels.get(LABEL) != str(state_dir):
            raise LabError(
                f"the container {name} belongs to {container.labels.get(LABEL, 'somebody else')}"
            )
        connected = set(container.attrs["NetworkSettings"]["Networks"]) == {network.name}
        if container.labels.get(CONFIG_LABEL) == digest and connected and _complete(container):
            if container.status == "paused":
                container.unpause()
            elif container.status != "running":
                container.start()
            return False
        container.remove(force=True, v=True)
    _create(client, machine, network, {LABEL: str(state_dir), CONFIG_LABEL: digest})
    return True


def wait_booted(container: Any, *, deadline: float) -> None:
    """Wait until systemd says that the machine is up.

    :param deadline: on ``time.monotonic()``'s clock.
    :raises LabError: naming the failed units, or saying that it takes too long.
    """
    status = ""
    while time.monotonic() < deadline:
        code, output = run(container, ["systemctl", "is-system-running"])
        status = output.strip().splitlines()[-1] if output.strip() else ""
        if code == 0 and status == "running":
            return
        if status == "degraded":
            _, units = run(container, ["systemctl", "--failed", "--no-legend", "--plain"])
            failed = [line.split()[0] for line in units.splitlines() if line.strip()]
            logs = ["journalctl", "--no-pager", "-n", "15", *(f"-u{unit}" for unit in failed)]
            _, text = run(container, logs)
            raise LabError(f"{container.name} started with failed units {failed}:\n{text.strip()}")
        time.sleep(0.2)
    raise LabError(f"{container.name} is not up in time: systemd says {status or 'nothing'!r}")


def run(container: Any, command: Sequence[str]) -> tuple[int, str]:
    """Run a command in a container and return its exit code and what it printed."""
    import docker

    try:
        result = container.exec_run(list(command), environment={"LC_ALL": "C.UTF-8"})
    except docker.errors.APIError as error:
        return 1, str(error)
    return int(result.exit_code or 0), result.output.decode(errors="replace")


def check(container: Any, command: Sequence[str]) -> str:
    """Run a command in a container and return what it printed.

    :raises LabError: when it fails.
    """
    code, output = run(container, command)
    if code != 0:
        raise LabError(f"{' '.join(command)} failed in {container.name}: {output.strip()}")
    return output


def put(container: Any, files: dict[str, File]) -> None:
    """Write files into a container."""
    container.put_archive("/", archive(files))


def owned(client: Any, state_dir: Path) -> Iterable[Any]:
    """Return all containers, of any status, that belong to this checkout."""
    found: list[Any] = client.containers.list(
        all=True, filters={"label": f"{LABEL}={state_dir}"}, ignore_removed=True
    )
    return found


def _complete(container: Any) -> bool:
    """Tell whether it got its files: it is only started once they are in."""
    return bool(container.attrs["State"]["StartedAt"][:4] != "0001")


def _create(client: Any, machine: Machine, network: Any, labels: dict[str, str]) -> None:
    api = client.api
    endpoint = api.create_endpoint_config(
        ipv4_address=str(machine.address), ipv6_address=str(machine.address6)
    )
    host_config = api.create_host_config(
        binds=[f"{source}:{target}:ro" for target, source in machine.mounts.items()],
        cap_add=list(CAPABILITIES),
        security_opt=list(SECURITY),
        tmpfs=dict.fromkeys(TMPFS, ""),
        network_mode=network.name,
    )
    # The SDK has no keyword for it in every version that Debian's engine goes with.
    host_config["CgroupnsMode"] = "private"
    created = api.create_container(
        machine.image,
        ["/bin/sh", "-c", INIT],
        name=container_name(network.name, machine.name),
        hostname=machine.hostname,
        environment={"container": "docker"},
        labels=labels,
        host_config=host_config,
        networking_config=api.create_networking_config({network.name: endpoint}),
        stop_signal=STOP_SIGNAL,
    )
    container = client.containers.get(created["Id"])
    put(container, all_files(machine))
    container.start()
