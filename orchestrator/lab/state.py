"""The state directory (``.lab``): keys, secrets and ``lab.json``, all readable by us only."""

import contextlib
import fcntl
import json
import os
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.lab.errors import LabError


@dataclass(frozen=True)
class State:
    """The files of one lab. ``dir`` is absolute and also labels what belongs to this checkout."""

    dir: Path

    @classmethod
    def open(cls, path: Path) -> "State":
        """Return the state directory, made with mode 0700 if it does not exist.

        :raises LabError: when it can't be made.
        """
        state = cls.at(path)
        try:
            state.dir.mkdir(mode=0o700, parents=True, exist_ok=True)
            state.dir.chmod(0o700)
        except OSError as error:
            raise LabError(f"can't make {state.dir}: {error.strerror}") from None
        return state

    @classmethod
    def at(cls, path: Path) -> "State":
        """Return the state directory without creating anything."""
        return cls(path.absolute())

    def path(self, name: str) -> Path:
        """Return the path of one of its files."""
        return self.dir / name

    def relative(self, name: str) -> str:
        """Return a file's path as ``lab.json`` has it: relative to the checkout."""
        return f"{self.dir.name}/{name}"

    def write(self, name: str, content: str | bytes, *, mode: int = 0o600) -> Path:
        """Write a file atomically and return its path."""
        path = self.path(name)
        data = content.encode() if isinstance(content, str) else content
        temporary = path.with_name(f".{path.name}.{os.getpid()}")
        # Never readable by others, not even before chmod.
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(mode)
        temporary.replace(path)
        return path

    def once(self, name: str, make: Callable[[], str | bytes], *, mode: int = 0o600) -> str:
        """Return the file's text, made at first use and kept from then on."""
        path = self.path(name)
        if not path.exists() or path.stat().st_size == 0:
            self.write(name, make(), mode=mode)
        return path.read_text()

    def password(self, name: str) -> str:
        """Return a password generated at first use."""
        return self.once(name, lambda: secrets.token_urlsafe(18)).strip()

    def read_json(self, name: str) -> dict[str, Any]:
        """Return a JSON object, empty where the file does not exist.

        :raises LabError: when the file is damaged.
        """
        try:
            value = json.loads(self.path(name).read_text())
        except FileNotFoundError:
            return {}
        except ValueError:
            value = None
        if not isinstance(value, dict):
            raise LabError(f"{self.path(name)} is damaged: delete it and run up again")
        return value

    def merge_json(self, name: str, values: dict[str, Any]) -> dict[str, Any]:
        """Set keys of a JSON object, keep its others, write it back, and return it."""
        merged = self.read_json(name) | values
        self.write(name, json.dumps(merged, indent=2) + "\n")
        return merged

    @contextlib.contextmanager
    def lock(self, *, wait: bool = False) -> Iterator[None]:
        """Hold the lab for one change at a time; the kernel frees it if we die.

        :param wait: wait for whoever holds it, rather than say so.
        :raises LabError: when another process holds it.
        """
        with self.path("lock").open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            except BlockingIOError:
                raise LabError(
                    f"another process is starting or stopping the lab in {self.dir}: wait for it"
                ) from None
            yield
