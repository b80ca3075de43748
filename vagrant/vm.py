"""Runs the fleet as virtual machines of our own making, from nothing to nothing: `make vagrant-vm`.

Builds the boxes, brings the fleet up on them with Vagrant and libvirt until mail has gone out and
come back, destroys it, and says how long each step took. It stands beside the lab: on another
network, under another name and on other ports. Where KVM does not run a machine, QEMU emulates its
processor. Ends with exit code 1 when a step fails. What it leaves is the boxes, for the next time.
"""

import argparse
import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import boxes
import hypervisor
from rich.console import Console

from orchestrator.lab import beside
from orchestrator.lab.errors import LabError
from orchestrator.lab.reporter import Reporter

#: Libvirt's machines run as a user who may read here, wherever the checkout lies.
DIRECTORY = Path("/var/lib/libvirt/mailfleet-vm")
POOL = DIRECTORY / "pool"
HOME = DIRECTORY / "home"
DOT = DIRECTORY / "dot"
STATE = DIRECTORY / "fleet"
NAME = "mailfleet-vm"
NUMBER = 52  # of its networks
#: What Vagrant reads before the fleet's own Vagrantfile. Nothing on these disks is to last.
VAGRANTFILE = """\
Vagrant.configure("2") do |config|
  config.ssh.insert_key = false
  config.vm.boot_timeout = {timeout}
  config.vm.graceful_halt_timeout = {timeout}
  config.vm.provider "libvirt" do |libvirt|
    libvirt.driver = "{driver}"
    libvirt.cpu_mode = "{cpu_mode}"
    libvirt.default_prefix = "{name}-"
    libvirt.graphics_type = "none"
    libvirt.storage_pool_name = "{name}"
    libvirt.management_network_name = "{name}-management"
    libvirt.management_network_address = "198.18.53.0/24"
    libvirt.disk_driver cache: "unsafe"
  end
end
"""
#: Seconds for a boot, and for a machine to go down.
TIMEOUT = 900
#: How many times longer than usual the fleet waits for its machines.
PATIENCE = 6.0


def main() -> int:
    """Do it all and return the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog="Example: make vagrant-vm",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.parse_args()
    # Plain lines even in a terminal: Vagrant prints between them.
    say = Reporter(Console(stderr=True, highlight=False, soft_wrap=True, force_terminal=False))
    try:
        _check(say)
    except LabError as error:
        say.done(f"failed: {error}")
        return 1
    say.done("the fleet came up, its mail arrived and was answered, and nothing of it is left")
    return 0


def _check(say: Reporter) -> None:
    DIRECTORY.mkdir(mode=0o711, exist_ok=True)
    with say.stage("boxes built"), ThreadPoolExecutor(max_workers=len(boxes.SYSTEMS)) as pool:
        built = dict(zip(boxes.SYSTEMS, pool.map(_box, boxes.SYSTEMS), strict=True))
    with contextlib.ExitStack() as stack:
        with say.stage("libvirt"):
            stack.enter_context(hypervisor.running(DIRECTORY))
            stack.enter_context(hypervisor.pool(NAME, POOL))
            driver = "kvm" if hypervisor.kvm_runs(built["debian12"]) else "qemu"
            say.note(f"its driver is {driver}")
            environment = _configure(driver)
            stack.callback(shutil.rmtree, HOME)
        if DOT.exists():
            say.note("an earlier run ended before its machines did")
            _destroy(environment)
        with say.stage("boxes added"):
            for system, file in built.items():
                _vagrant(environment, "box", "add", "--force", "--name", boxes.name(system), file)
        try:
            with say.stage("vagrant up"):
                _vagrant(environment, "up", "--provider=libvirt")
        finally:
            with say.stage("vagrant destroy"):
                _destroy(environment)


def _vagrant(environment: Mapping[str, str], *arguments: str | Path) -> None:
    # Without a terminal it draws no progress bars.
    command = ["vagrant", "--no-tty", *arguments]
    done = subprocess.run(command, cwd=boxes.HERE, env=environment, check=False)
    if done.returncode != 0:
        raise LabError(f"`vagrant {arguments[0]}` ended with exit code {done.returncode}")


def _destroy(environment: Mapping[str, str]) -> None:
    """Destroy the machines, and see that nothing of theirs is left."""
    _vagrant(environment, "destroy", "--force")
    kinds = ("list", "net-list")
    listed = [hypervisor.virsh(kind, "--all", "--name").stdout.split() for kind in kinds]
    left = [name for names in listed for name in names if name.startswith(NAME)]
    left += [str(STATE)] if STATE.exists() else []
    if left:
        raise LabError(f"`vagrant destroy` left {', '.join(left)}")
    shutil.rmtree(DOT)


def _box(system: str) -> Path:
    """A system's box, built where there is none that was made as it would be now."""
    target = DIRECTORY / f"{system}-{boxes.version(system)}.box"
    if not target.exists():
        for old in DIRECTORY.glob(f"{system}-*.box"):
            old.unlink()
        boxes.build(system, target)
    return target


def _configure(driver: str) -> dict[str, str]:
    """Write the fleet's description and Vagrant's configuration, and return its environment."""
    others = {
        "debian/bookworm64": boxes.name("debian12"),
        "debian/trixie64": boxes.name("debian13"),
    }
    text = beside.description(NAME, NUMBER, others)
    HOME.mkdir(mode=0o711, exist_ok=True)
    described = DIRECTORY / "fleet.toml"
    described.write_text(f"patience = {PATIENCE}\n{text}")
    mode = "host-passthrough" if driver == "kvm" else "custom"
    values = {"driver": driver, "cpu_mode": mode, "name": NAME, "timeout": TIMEOUT}
    (HOME / "Vagrantfile").write_text(VAGRANTFILE.format(**values))
    return {**os.environ, **beside.environment(described, STATE, HOME, DOT)}


if __name__ == "__main__":
    sys.exit(main())
