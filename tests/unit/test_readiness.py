"""From `mailfleet init` on, both processes start, and tell systemd when they are at work."""

import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from labkit import BIN


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """An installation."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    config = tmp_path / "mailfleet.toml"
    url = f"sqlite:///{tmp_path}/mailfleet.db"
    config.write_text(f'database_url = "{url}"\napi_port = {port}\nmetrics_listen = ""\n')
    run = [str(BIN / "mailfleet"), "--config", str(config), "init"]
    subprocess.run(run, cwd=tmp_path, check=True, stdout=subprocess.DEVNULL)
    return tmp_path


@pytest.fixture(params=["path", "abstract"])
def listener(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, socket.socket]]:
    """What systemd listens on, and how it names it to its units."""
    named = {"path": str(tmp_path / "notify"), "abstract": f"@mailfleet-test-{os.getpid()}"}
    address = named[request.param]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as told:
        told.bind("\0" + address[1:] if address.startswith("@") else address)
        told.settimeout(60)
        yield address, told


@pytest.mark.parametrize("argv", [("mailfleet", "serve"), ("reconcile", "run")])
def test_it_says_when_it_is_at_work(
    directory: Path, listener: tuple[str, socket.socket], argv: tuple[str, str]
) -> None:
    address, told = listener
    process = subprocess.Popen(
        [BIN / argv[0], "--config", "mailfleet.toml", argv[1]],
        cwd=directory,
        env={**os.environ, "NOTIFY_SOCKET": address},
        stderr=subprocess.PIPE,
    )
    try:
        assert told.recv(100) == b"READY=1"
        if argv[1] == "serve":
            port = (directory / "mailfleet.toml").read_text().split("api_port = ")[1].split()[0]
            assert httpx.get(f"http://127.0.0.1:{port}/healthz").json() == {"status": "ok"}
        process.send_signal(signal.SIGTERM)
        _, log = process.communicate(timeout=60)
        assert b"Traceback" not in log, log
    finally:
        process.kill()
        process.wait()
