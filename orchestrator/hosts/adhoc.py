"""Ad-hoc commands on a host, for operators: fabric over a connection of ours."""

from pathlib import Path

import paramiko
from fabric import Connection

from orchestrator.hosts.ssh import SshTarget, open_socket


def run(target: SshTarget, known_hosts_file: Path, command: str) -> int:
    """Run a command with its output on ours; gives its exit code.

    :raises OSError: when the host does not answer.
    :raises paramiko.SSHException: when its key is not the enrolled one, or refuses ours.
    """
    connection = Connection(
        target.address,
        user=target.user,
        port=target.port,
        connect_kwargs={
            "key_filename": str(target.key_file),
            "sock": open_socket(target.address, target.port, target.connect_timeout),
            "allow_agent": False,
            "look_for_keys": False,
        },
    )
    # fabric's own default is to believe any host that it does not know.
    connection.client.set_missing_host_key_policy(paramiko.RejectPolicy())
    connection.client.load_host_keys(str(known_hosts_file))
    with connection:
        result = connection.run(command, warn=True, in_stream=False)
    return int(result.return_code)
