"""Finds a Docker engine, or starts Debian's own for as long as the lab is up."""

import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path
from typing import Any

from orchestrator.lab.errors import LabError

SOCKET = Path("/var/run/docker.sock")
#: Images and containers of an engine that we start; kept between runs as a cache.
ROOT = Path("/var/lib/mailfleet-lab")
#: Run-time files apart from a distribution's dockerd, which may be started later.
RUN = Path("/run/mailfleet-lab")
PID_FILE = RUN / "dockerd.pid"
LOG_FILE = ROOT / "dockerd.log"
START_TIMEOUT = 60.0
STOP_TIMEOUT = 30.0


def connect() -> Any:
    """Return a client of the engine that runs.

    :raises LabError: when none answers at ``DOCKER_HOST`` or the default socket.
    """
    docker = sdk()
    where = os.environ.get("DOCKER_HOST") or f"unix://{SOCKET}"
    try:
        if where.startswith("unix://"):
            # The SDK leaves its socket open when nobody listens.
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
                probe.connect(where.removeprefix("unix://"))
        environment = {**os.environ, "DOCKER_HOST": where}
        client = docker.DockerClient.from_env(timeout=120, environment=environment)
        client.ping()
    except (docker.errors.DockerException, OSError) as error:
        raise LabError(f"no Docker engine answers at {where}: {_reason(error)}") from None
    return client


def ensure() -> Any:
    """Return a client of the engine that runs, or of our own, started if need be.

    :raises LabError: when there is none and none can be started, saying what to install.
    """
    sdk()
    try:
        return connect()
    except LabError:
        if os.environ.get("DOCKER_HOST"):
            raise  # The user chose an engine; starting another one would only hide the mistake.
    _check_can_start()
    _start()
    return connect()


def ours() -> int | None:
    """Return the process id of the engine that we started, if it still runs."""
    try:
        pid = int(PID_FILE.read_text())
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
    except (OSError, ValueError):
        return None
    # A process id may have been reused since the file was written.
    return pid if str(ROOT).encode() in command else None


def stop() -> bool:
    """Stop the engine if we started it and return whether it was stopped.

    :raises LabError: when it does not end in time.
    """
    pid = ours()
    if pid is None:
        return False
    os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + STOP_TIMEOUT
    while ours() is not None:
        if time.monotonic() > deadline:
            raise LabError(f"dockerd (process {pid}) does not stop: see {LOG_FILE}")
        _reap(pid)
        time.sleep(0.1)
    return True


def purge() -> None:
    """Remove the stopped engine's images and logs."""
    if ours() is None:
        # An engine that was killed leaves its data directory mounted over itself.
        subprocess.run(["umount", str(ROOT / "docker")], stderr=subprocess.DEVNULL, check=False)
        shutil.rmtree(ROOT, ignore_errors=True)
        shutil.rmtree(RUN, ignore_errors=True)


def sdk() -> Any:
    """Return Docker's Python package.

    :raises LabError: when it is not installed, saying how to.
    """
    try:
        import docker
    except ImportError:
        raise LabError(
            "the lab needs the Python package `docker`: pip install 'mailfleet[lab]'"
        ) from None
    return docker


def _check_can_start() -> None:
    if os.geteuid() != 0:
        raise LabError(
            f"no Docker engine answers at {SOCKET}, and only root can start one: "
            "start Docker, or join the group `docker`, or run this as root"
        )
    missing = [name for name in ("dockerd", "containerd", "runc") if not shutil.which(name)]
    if missing:
        raise LabError(
            f"no Docker engine answers at {SOCKET} and {', '.join(missing)} is not installed: "
            "apt-get install docker.io"
        )


def _start() -> None:
    for directory in (ROOT, RUN):
        directory.mkdir(mode=0o711, parents=True, exist_ok=True)
    # The machine's daemon.json is not ours to obey: an option given twice stops dockerd.
    config = ROOT / "daemon.json"
    config.write_text("{}\n")
    command = ["dockerd", "--bridge=none", f"--data-root={ROOT / 'docker'}"]
    command += [f"--exec-root={RUN / 'exec'}", f"--pidfile={PID_FILE}"]
    command += [f"--config-file={config}", f"--host=unix://{SOCKET}"]
    with LOG_FILE.open("ab") as log:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
        )
    deadline = time.monotonic() + START_TIMEOUT
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise LabError(f"dockerd ended at once: {_last_error()} (see {LOG_FILE})")
        try:
            connect().close()
        except LabError:
            time.sleep(0.1)
        else:
            return
    raise LabError(f"dockerd does not answer after {START_TIMEOUT:.0f} s: see {LOG_FILE}")


def _reap(pid: int) -> None:
    """Collect the engine's exit status where it is a child of this very process."""
    try:
        os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return


def _last_error() -> str:
    lines = LOG_FILE.read_text(errors="replace").splitlines()
    return lines[-1] if lines else "no message"


def _reason(error: BaseException) -> str:
    """Return the shortest true sentence of an SDK error, which nests three libraries' texts."""
    text = str(error)
    for known in ("Permission denied", "No such file or directory", "Connection refused"):
        if known in text:
            return known.lower()
    return text
