"""The Vagrant fleet's mail hosts as a pyinfra inventory, as Vagrant told them.

Example: ``pyinfra inventory/vagrant.py exec -- hostname``

Addresses and host keys were read by ``vagrant up``; ``FLEET_STATE`` names its state directory
where it isn't ``vagrant/.fleet``.
"""

import json
import os
from pathlib import Path
from typing import Any


def _hosts() -> list[tuple[str, dict[str, Any]]]:
    default = Path(__file__).resolve().parents[1] / "vagrant" / ".fleet"
    state = Path(os.environ.get("FLEET_STATE", default))
    described = json.loads((state / "lab.json").read_text())
    return [
        (
            f"@mailfleet/{host['name']}",
            {
                "ssh_hostname": host["address"],
                "ssh_user": "root",
                "ssh_key": str(state / "id_ed25519"),
                "ssh_known_hosts_file": str(state / "known_hosts"),
                "ssh_strict_host_key_checking": "yes",
                "os": host["os"],
            },
        )
        for host in described["hosts"]
    ]


fleet = _hosts()
