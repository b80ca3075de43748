"""pyinfra's SSH connector, without Nagle's delay and without connections that leak.

``@mailfleet/NAME`` in an inventory. pyinfra's own connector leaves ``TCP_NODELAY`` off, as
paramiko does, so that every round trip waits 40 ms for a delayed acknowledgement; and its
``disconnect()`` leaves the SSH session open on the server. Both belong upstream: this class
is what we would send there.
"""

from collections.abc import Iterator
from typing import Any

from pyinfra.connectors.ssh import SSHConnector
from typing_extensions import override

from orchestrator.hosts.ssh import open_socket


class MailfleetConnector(SSHConnector):
    """SSH with ``TCP_NODELAY``, strict host keys and a real disconnect."""

    @override
    @staticmethod
    def make_names_data(name: str) -> Iterator[tuple[str, dict[str, Any], list[str]]]:
        """One host of that name; address and keys come from the inventory's data."""
        yield f"@mailfleet/{name}", {"ssh_strict_host_key_checking": "yes"}, []

    @override
    def make_paramiko_kwargs(self) -> dict[str, Any]:
        """As upstream, over a socket of ours."""
        kwargs = super().make_paramiko_kwargs()
        kwargs["sock"] = open_socket(
            kwargs["hostname"], kwargs.get("port", 22), kwargs.get("timeout", 10)
        )
        return kwargs

    @override
    def disconnect(self) -> None:
        """Close the session too, not only the file transfer."""
        super().disconnect()
        if self.client is not None:
            self.client.close()
