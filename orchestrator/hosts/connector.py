"""pyinfra's SSH connector, without Nagle's delay and without connections that leak.

``@mailfleet/NAME`` in an inventory. pyinfra's own connector leaves ``TCP_NODELAY`` off, as
paramiko does, so that every round trip waits 40 ms for a delayed acknowledgement; and its
``disconnect()`` leaves the SSH session open on the server. Both belong upstream: this class
is what we would send there. In a process that pushes again and again, ``keep_warm()`` makes
sessions outlive the deploy.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import paramiko
from pyinfra.connectors.ssh import SSHConnector
from typing_extensions import override

from orchestrator.hosts.ssh import CHANNELS_PER_CONNECTION, KEEPALIVE_SECONDS, open_socket

#: Where, as whom, with which key, and which keys it may show.
Identity = tuple[str, ...]


class MailfleetConnector(SSHConnector):
    """SSH with ``TCP_NODELAY``, strict host keys and a real disconnect."""

    #: Sessions with how often they were used; None where they end with the deploy.
    _warm: ClassVar[dict[Identity, tuple[Any, int]] | None] = None

    @classmethod
    def keep_warm(cls) -> None:
        """From now on keep sessions open between the deploys of this process."""
        cls._warm = {}

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
    def connect(self) -> None:
        """Take up a warm session, or open one."""
        client, used = (self._warm or {}).pop(self._identity(), (None, 0))
        if client is not None and _alive(client) and used < CHANNELS_PER_CONNECTION:
            self.client, self._used = client, used + 1
            return
        if client is not None:
            client.close()
        super().connect()
        self._used = 1
        assert self.client is not None
        transport = self.client.get_transport()
        assert transport is not None
        transport.set_keepalive(KEEPALIVE_SECONDS)

    @override
    def disconnect(self) -> None:
        """Close the session too, not only the file transfer; or put it aside."""
        super().disconnect()
        if self.client is None:
            return
        if self._warm is not None and _alive(self.client):
            self._warm[self._identity()] = (self.client, self._used)
        else:
            self.client.close()

    def _identity(self) -> Identity:
        data = self.data
        login = (data["ssh_hostname"], data["ssh_port"], data["ssh_user"], data["ssh_key"])
        known = Path(str(data["ssh_known_hosts_file"])).read_text()
        return (*map(str, login), known)


def _alive(client: paramiko.SSHClient) -> bool:
    transport = client.get_transport()
    return transport is not None and transport.is_active()
