"""The database's hosts as a pyinfra inventory.

Example: ``pyinfra inventory/fleet.py exec -- hostname``

Reads the same settings as Mailfleet (``MAILFLEET_CONFIG``). Host keys are those recorded at
enrolment; a host that shows another one is refused.
"""

from typing import Any

from sqlmodel import select

from orchestrator import db, settings
from orchestrator.hosts import known_hosts
from orchestrator.models import Host


def _hosts() -> list[tuple[str, dict[str, Any]]]:
    options = settings.load()
    engine = db.connect(options.database_url)
    with db.reading(engine) as session:
        rows = session.exec(select(Host).order_by(Host.name)).all()
        known_hosts.write(
            options.known_hosts_file, [(row.address, row.ssh_port, row.host_key) for row in rows]
        )
        found: list[tuple[str, dict[str, Any]]] = [
            (
                f"@mailfleet/{row.name}",
                {
                    "ssh_hostname": row.address,
                    "ssh_port": row.ssh_port,
                    "ssh_user": row.ssh_user,
                    "ssh_key": str(options.ssh_key_file),
                    "ssh_known_hosts_file": str(options.known_hosts_file),
                    "ssh_strict_host_key_checking": "yes",
                    "os": row.os,
                },
            )
            for row in rows
        ]
    engine.dispose()
    return found


fleet = _hosts()
