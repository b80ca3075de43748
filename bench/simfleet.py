"""A fleet that exists only as SSH servers: one process, one loopback address for each host.

A simulated host answers the probe as a real one would and takes pushes: it unpacks the bundle,
refuses one that is not newer, and reports the new digests from then on. It validates, reloads
and smoke-tests nothing, so what is measured against it is the control plane's own part.
"""

import asyncio
import base64
import hashlib
import io
import ipaddress
import multiprocessing
import socket
import tarfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from multiprocessing.connection import Connection
from types import TracebackType
from typing import Self

import asyncssh

from orchestrator.hosts import probe
from orchestrator.hostspec import OsName, RenderedFile
from orchestrator.plan import SESSIONS, daemon_digests, sessions_digest
from orchestrator.rendering import requirements

FIRST_ADDRESS = ipaddress.IPv4Address("127.77.0.1")
#: The comment that the probe's script begins with; a push is told by its unpacking.
PROBE = probe.SCRIPT.partition("\n")[0]
PUSH = "base64 -d | tar"


@dataclass
class SimHost:
    """One host. ``files`` maps a path to (mode, owner, group, digest), ``applied`` a daemon to
    the digest of what it has read. A ``silent`` one takes commands and never answers.
    """

    os: OsName
    files: dict[str, tuple[str, str, str, str]] = field(default_factory=dict)
    applied: dict[str, str] = field(default_factory=dict)
    generation: int = 0
    silent: bool = False

    @classmethod
    def converged(
        cls, os: OsName, files: Sequence[RenderedFile], *, silent: bool = False
    ) -> "SimHost":
        """A host that is already what it must be."""
        standing = {f.path: (f"{f.mode:o}", f.owner, f.group, f.digest) for f in files}
        applied = daemon_digests(files)
        applied[SESSIONS] = sessions_digest(files, requirements.of(os))
        return cls(os, standing, applied, generation=1, silent=silent)

    def answer(self) -> str:
        """What the probe's script would print on it."""
        required = requirements.of(self.os)
        facts: list[Sequence[object]] = [
            ("os", self.os),
            ("user", 0),
            ("generation", self.generation),
            *(("applied", *pair) for pair in self.applied.items()),
        ]
        for path, (mode, owner, group, digest) in self.files.items():
            facts += [
                ("file", mode, owner, group, 0, path),
                ("digest", digest, path),
                ("index", path),
            ]
        facts += [
            *(("directory", mode, *owner, path) for path, *owner, mode in required.directories),
            *(("account", name, uid, uid, group) for name, uid, group, _ in required.users),
            *(
                ("account", name, 101, 101, f"{name} {group}")
                for name, group in required.memberships
            ),
            *(("unit", unit, "active", "enabled") for unit in required.units.values()),
            *(("package", name, "ii ", "1") for name in required.packages),
            ("disk", "/var", 10_000_000, 1024),
            ("queue", 0),
            ("load", 0.1, "0-1"),
            ("clock", time.time()),
            ("end",),
        ]
        return "".join("\t".join(map(str, fact)) + "\n" for fact in facts)

    def push(self, packed: bytes) -> tuple[int, str]:
        """Take a bundle; gives exit code and output as ``apply.sh`` would."""
        with tarfile.open(fileobj=io.BytesIO(base64.b64decode(packed)), mode="r:gz") as archive:
            members = {member.name: member for member in archive.getmembers()}
            entries = {name: _content(archive, member) for name, member in members.items()}
        generation = int(entries["generation"])
        if generation <= self.generation:
            return 1, "fail\tFenced\n"
        for line in entries["manifest"].decode().splitlines():
            path = line.split("\t")[-1]
            member, content = members[f"files{path}"], entries[f"files{path}"]
            digest = hashlib.sha256(content).hexdigest()
            self.files[path] = (f"{member.mode:o}", member.uname, member.gname, digest)
        for path in entries["delete"].decode().splitlines():
            self.files.pop(path, None)
        for name, content in entries.items():
            if name.startswith("digests/"):
                self.applied[name.removeprefix("digests/")] = content.decode().strip()
        self.generation = generation
        return 0, "step\tcommit\t0\ndone\n"


def _content(archive: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    file = archive.extractfile(member)
    return file.read() if file else b""


class SimFleet:
    """The addresses, the port and the SSH key of ``count`` hosts; a context manager.

    Inside it the port is taken; ``start`` brings the hosts to life.
    """

    def __init__(self, count: int) -> None:
        self.addresses = [str(FIRST_ADDRESS + number) for number in range(count)]
        self._key = asyncssh.generate_private_key("ssh-ed25519")
        kind, encoded, *_ = self._key.export_public_key().decode().split()
        self.host_key = f"{kind} {encoded}"
        first = socket.create_server((self.addresses[0], 0))
        self.port: int = first.getsockname()[1]
        others = [socket.create_server((address, self.port)) for address in self.addresses[1:]]
        self._listeners = [first, *others]
        self._ours, self._theirs = multiprocessing.Pipe()

    def start(self, hosts: Mapping[str, SimHost]) -> None:
        """Serve the hosts, by address, in a process of its own, until the block ends."""
        context = multiprocessing.get_context("spawn")
        arguments = (self._listeners, self._key.export_private_key(), hosts, self._theirs)
        context.Process(target=_serve, args=arguments, daemon=True).start()
        assert self._ours.recv() == "ready"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._theirs.close()
        # The process ends when this end does, also if we are killed.
        self._ours.close()
        for listener in self._listeners:
            listener.close()


class _Open(asyncssh.SSHServer):
    def begin_auth(self, username: str) -> bool:
        return False


def _serve(
    listeners: list[socket.socket], key: bytes, hosts: dict[str, SimHost], control: Connection
) -> None:
    asyncio.run(_serve_all(listeners, key, hosts, control))


async def _serve_all(
    listeners: list[socket.socket], key: bytes, hosts: dict[str, SimHost], control: Connection
) -> None:
    options = asyncssh.SSHServerConnectionOptions(
        server_factory=_Open,
        server_host_keys=[asyncssh.import_private_key(key)],
        process_factory=partial(_run, hosts),
        encoding=None,
        keepalive_interval=0,
    )
    for listener in listeners:
        await asyncssh.listen(sock=listener, options=options)
    control.send("ready")
    await asyncio.get_running_loop().run_in_executor(None, _until_closed, control)


def _until_closed(control: Connection) -> None:
    try:
        control.recv()
    except EOFError:
        return


async def _run(hosts: Mapping[str, SimHost], process: asyncssh.SSHServerProcess[bytes]) -> None:
    host = hosts[process.get_extra_info("sockname")[0]]
    command = process.command or ""
    stdin = await process.stdin.read()
    if host.silent:
        return
    if PUSH in command:
        status, output = host.push(stdin)
    elif PROBE in command:
        status, output = 0, host.answer()
    else:
        status, output = 127, ""
    process.stdout.write(output.encode())
    process.exit(status)
