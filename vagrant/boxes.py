"""Builds Vagrant's boxes for libvirt from Debian's packages: the lab's bare hosts, with a kernel.

A box is a disk without a boot loader: its kernel lies beside it, and its own Vagrantfile names it.
"""

import dataclasses
import hashlib
import json
import shutil
import tarfile
import tempfile
from pathlib import Path

from orchestrator.lab import images
from orchestrator.lab.images import Recipe

HERE = Path(__file__).resolve().parent
SYSTEMS = ("debian12", "debian13")
#: What a machine has and a container does without: a kernel, addresses by DHCP, and what Vagrant
#: calls when it sets a name, a network and files, and when it reboots.
MACHINE = (
    *("linux-image-cloud-amd64", "initramfs-tools", "ifupdown", "isc-dhcp-client"),
    *("sudo", "procps", "e2fsprogs", "openssh-client"),
)
DISK = 8  # GiB, of which only what is written takes room

VAGRANTFILE = """\
Vagrant.configure("2") do |config|
  config.vm.provider "libvirt" do |libvirt|
    libvirt.kernel = File.expand_path("vmlinuz", __dir__)
    libvirt.initrd = File.expand_path("initrd.img", __dir__)
    libvirt.cmd_line = "root=/dev/vda rw console=ttyS0 net.ifnames=0 quiet"
  end
end
"""


def name(system: str) -> str:
    """Return Vagrant's name for a system's box."""
    return f"mailfleet/{system}"


def recipe(system: str) -> Recipe:
    """Return what is in a system's box.

    What the fleet's machines of that system install (``furnish.sh``) lies in apt's cache, so
    that nothing big is downloaded inside one; a mail host stays bare all the same.
    """
    bare = images.bare(system)
    others = {p for one in (images.NS, images.WORLD) if one.system == system for p in one.include}
    return dataclasses.replace(
        bare,
        name=name(system),
        include=(*bare.include, *MACHINE),
        cached=(*bare.cached, *sorted(others - {*bare.include, *bare.cached})),
        hooks=(*bare.hooks, f'"{HERE}/box.sh" "$1"'),
    )


def version(system: str) -> str:
    """Return what changes whenever the way to make a system's box does."""
    ours = "".join((HERE / file).read_text() for file in ("boxes.py", "box.sh"))
    return hashlib.sha256(f"{recipe(system).tag}{ours}".encode()).hexdigest()[:12]


def build(system: str, target: Path) -> None:
    """Build a system's box, as root.

    :param target: the box to write; its directory has room for 3 GiB meanwhile.
    :raises LabError: with the end of the log of the program that failed.
    """
    with tempfile.TemporaryDirectory(prefix="box-", dir=target.parent) as temporary:
        work = Path(temporary)
        root, box = work / "root", work / "box"
        root.mkdir()
        box.mkdir()
        tar, disk = work / "root.tar", work / "disk"
        for command in (
            recipe(system).command(tar),
            ["tar", "-C", str(root), "--numeric-owner", "-xf", str(tar)],
            ["mke2fs", "-q", "-t", "ext4", "-d", str(root), str(disk), f"{DISK}G"],
            ["qemu-img", "convert", "-O", "qcow2", str(disk), str(box / "box.img")],
        ):
            images.run(f"building {name(system)}", command, work)
        for kind in ("vmlinuz", "initrd.img"):
            (found,) = (root / "boot").glob(f"{kind}-*")
            shutil.copy(found, box / kind)
        (box / "Vagrantfile").write_text(VAGRANTFILE)
        metadata = {"provider": "libvirt", "format": "qcow2", "virtual_size": DISK}
        (box / "metadata.json").write_text(json.dumps(metadata))
        whole = work / "whole"
        with tarfile.open(whole, "w") as archive:
            archive.add(box, arcname=".")
        whole.replace(target)
