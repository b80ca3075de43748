"""An SSH server on loopback that lets one key in.

It answers every command with one text, or as a function of the test's does.
"""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import paramiko
from paramiko.common import AUTH_SUCCESSFUL, OPEN_SUCCEEDED


@dataclass(frozen=True)
class Server:
    """Where it listens, and the key it shows (``<type> <base64>``)."""

    port: int
    host_key: str


#: A command to its exit code and output.
Answer = Callable[[str], tuple[int, str]]


class _Session(paramiko.ServerInterface):
    def __init__(self, answer: Answer) -> None:
        self._answer = answer

    def check_auth_publickey(self, username: str, key: paramiko.PKey) -> int:
        return AUTH_SUCCESSFUL

    def get_allowed_auths(self, username: str) -> str:
        return "publickey"

    def check_channel_request(self, kind: str, chanid: int) -> int:
        return OPEN_SUCCEEDED

    def check_channel_exec_request(self, channel: paramiko.Channel, command: bytes) -> bool:
        arguments = (channel, command.decode())
        threading.Thread(target=self._reply, args=arguments, daemon=True).start()
        return True

    def _reply(self, channel: paramiko.Channel, command: str) -> None:
        while channel.recv(65536):
            pass
        status, text = self._answer(command)
        channel.sendall(text.encode())
        channel.send_exit_status(status)
        channel.close()


@contextmanager
def serve(answer: str | Answer) -> Iterator[Server]:
    """Serve until the block ends."""
    reply = answer if callable(answer) else lambda _: (0, answer)
    key = paramiko.ECDSAKey.generate()
    listener = socket.create_server(("127.0.0.1", 0))
    transports: list[paramiko.Transport] = []

    def accept() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            transport = paramiko.Transport(connection)
            transport.add_server_key(key)
            transport.start_server(event=threading.Event(), server=_Session(reply))
            transports.append(transport)

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    try:
        port = listener.getsockname()[1]
        yield Server(port, f"{key.get_name()} {key.get_base64()}")
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()
        for transport in transports:
            transport.close()
