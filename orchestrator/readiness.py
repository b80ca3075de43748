"""Tells systemd when a process is ready, for units of ``Type=notify``."""

import os
import socket


def ready() -> None:
    """Say that this process is at work; nothing is done where nobody asked (sd_notify(3))."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as told:
        # An abstract socket is written with @ for its first octet, which is zero.
        told.connect("\0" + address[1:] if address.startswith("@") else address)
        told.sendall(b"READY=1")
