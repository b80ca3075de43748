"""Libvirt and QEMU: the daemon, a place for disks, and whether KVM runs a kernel here."""

import contextlib
import shutil
import subprocess
import tarfile
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from orchestrator.lab.errors import LabError

#: Seconds until the daemon answers.
ANSWER_TIMEOUT = 30.0
#: Enough for KVM to start a kernel, which then finds no disk and ends QEMU.
KVM_TIMEOUT = 30.0


@contextlib.contextmanager
def running(directory: Path) -> Iterator[None]:
    """Libvirt's daemon: the one that answers, or our own for as long as the block runs.

    :param directory: for its log.
    :raises LabError: when it doesn't answer in time, with the end of its log.
    """
    if virsh("version").returncode == 0:
        yield
        return
    with contextlib.ExitStack() as stack:
        for name in ("virtlogd", "libvirtd"):
            stack.enter_context(_daemon(name, directory))
        deadline = time.monotonic() + ANSWER_TIMEOUT
        while virsh("version").returncode != 0:
            if time.monotonic() > deadline:
                log = (directory / "libvirtd.log").read_text(errors="replace")
                raise LabError(f"libvirtd doesn't answer; its log:\n{log[-1500:]}")
            time.sleep(0.2)
        yield


@contextlib.contextmanager
def _daemon(name: str, directory: Path) -> Iterator[None]:
    with (directory / f"{name}.log").open("wb") as log:
        # In a session of its own it outlives Ctrl-C until the machines are destroyed.
        command = ["setpriv", "--pdeathsig=TERM", name]
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
        )
    try:
        yield
    finally:
        process.terminate()
        process.wait()


@contextlib.contextmanager
def pool(name: str, directory: Path) -> Iterator[None]:
    """A directory for disks, gone with the block.

    :raises LabError: with libvirt's words when it refuses.
    """
    directory.mkdir(mode=0o711, exist_ok=True)
    virsh("pool-destroy", name)
    done = virsh("pool-create-as", name, "dir", "--target", str(directory))
    if done.returncode != 0:
        raise LabError(f"libvirt makes no place for disks: {done.stderr.strip()}")
    try:
        yield
    finally:
        virsh("pool-destroy", name)
        shutil.rmtree(directory)


def virsh(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Ask libvirt's daemon; the exit code is the caller's business."""
    command = ["virsh", "--connect", "qemu:///system", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def kvm_runs(box: Path) -> bool:
    """Whether a kernel starts with KVM: a device that is there may still not run one."""
    with tarfile.open(box) as tar, tempfile.NamedTemporaryFile() as kernel:
        found = tar.extractfile("./vmlinuz")
        assert found is not None  # a file
        shutil.copyfileobj(found, kernel)
        kernel.flush()
        # It finds no disk and reboots at once, which ends QEMU.
        command = ["qemu-system-x86_64", "-accel", "kvm", "-cpu", "host", "-m", "256"]
        command += ["-nodefaults", "-display", "none", "-no-reboot"]
        command += ["-kernel", kernel.name, "-append", "panic=-1"]
        try:
            done = subprocess.run(command, capture_output=True, check=False, timeout=KVM_TIMEOUT)
        except subprocess.TimeoutExpired:
            return False
    return done.returncode == 0
