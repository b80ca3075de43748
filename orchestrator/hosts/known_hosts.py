"""The enrolled host keys, as SSH clients read them."""

import os
from collections.abc import Iterable
from pathlib import Path


def line(address: str, port: int, key: str) -> str:
    """One line of ``known_hosts`` (sshd(8)); ``key`` is ``<type> <base64>``."""
    name = address if port == 22 else f"[{address}]:{port}"
    return f"{name} {key}\n"


def write(path: Path, hosts: Iterable[tuple[str, int, str]]) -> None:
    """Replace the file by one with exactly these (address, port, key) entries."""
    text = "".join(line(address, port, key) for address, port, key in hosts)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(text)
    temporary.replace(path)
