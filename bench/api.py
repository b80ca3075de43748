"""The API by itself: `/me` beside a handler that does nothing, and reads as the fleet grows.

One server process on loopback, as `mailfleet serve` runs it, on SQLite. The load comes from wrk.
"""

import http.client
import os
import re
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import msgspec
from sqlalchemy import Engine, insert
from sqlmodel import select

from bench import seed
from bench.measure import percentile, timed
from bench.options import Options
from bench.report import Cell, Report
from orchestrator import db, dkim, secrets
from orchestrator.models import (
    Address,
    AddressState,
    Bucket,
    Domain,
    Host,
    Mailbox,
    Workspace,
)
from orchestrator.secrets import Vault
from orchestrator.services import dkim_rotation, keys
from orchestrator.settings import Settings

SIZES = (100, 10_000, 1_000_000)
#: Mailboxes of each tenant: one's answer doesn't grow, only what stands beside it does.
EACH = 100
BATCH = 10_000
CONNECTIONS, SECONDS = 16, 10
#: A handler that does nothing, served the same way.
EMPTY = """
import uvicorn
from litestar import Litestar, get
@get("/me")
async def me() -> dict[str, str]:
    return {}
uvicorn.run(Litestar([me], openapi_config=None, logging_config=None), host="127.0.0.1",
            port=int(__import__("sys").argv[1]), log_config=None, access_log=False,
            server_header=False)
"""


def run(options: Options) -> list[Report]:
    """Two tables: requests a second, and latencies at each size."""
    with tempfile.TemporaryDirectory(prefix="mailfleet-bench-") as name:
        settings = seed.installation(Path(name))
        engine = db.connect(settings.database_url)
        token = _tenant(engine, settings)
        sizes = SIZES[:-1] if options.quick else SIZES
        rows: list[Sequence[Cell]] = []
        with _served(settings) as port:
            throughput = _throughput(port, token, options)
            for size in sizes:
                _grow(engine, size)
                rows += _latencies(port, token, size, options)
        engine.dispose()
    latencies = Report(
        title=f"Reads of one tenant ({EACH} mailboxes) beside others, milliseconds",
        columns=("", "mailboxes in all", "p50", "p95", "p99"),
        rows=rows,
    )
    return [throughput, latencies]


def _tenant(engine: Engine, settings: Settings) -> str:
    hashed = secrets.hash_password(secrets.new_password())
    pair = dkim.generate()
    vault = Vault(settings.master_key_file)
    with db.writing(engine) as session:
        host = Host(
            name="mx1",
            hostname="mx1.fleet.invalid",
            address="127.0.0.1",
            host_key="",
            os="debian12",
        )
        workspace = Workspace(slug="acme", name="Acme", verification_token="x")
        session.add_all([host, workspace])
        session.flush()
        address = Address(
            ip="10.77.0.1",
            version=4,
            ptr_name="out.fleet.invalid",
            host_id=host.id,
            state=AddressState.ASSIGNED,
            workspace_id=workspace.id,
        )
        domain = Domain(name="acme.example", workspace_id=workspace.id)
        session.add_all([address, domain])
        session.flush()
        dkim_rotation.add(session, vault, domain, pair)
        seed.add_mailboxes(session, domain, address, EACH, hashed)
        rates = dict.fromkeys(Bucket, "1000000/1000000")
        return keys.create(session, workspace, "bench", rates=rates)[1]


def _grow(engine: Engine, size: int) -> None:
    """Other tenants' mailboxes, until there are so many."""
    with db.writing(engine) as session:
        (model,) = session.exec(select(Mailbox).limit(1)).all()
        address = session.exec(select(Address)).one()
        count = len(session.exec(select(Mailbox.id)).all())
        while count < size:
            tenants = [
                Workspace(slug=f"t{count + i}", name="t", verification_token="x")
                for i in range(0, min(BATCH, size - count), EACH)
            ]
            session.add_all(tenants)
            session.flush()
            domains = [Domain(name=f"{t.slug}.example", workspace_id=t.id) for t in tenants]
            session.add_all(domains)
            session.flush()
            rows = [
                Mailbox(
                    workspace_id=tenant.id,
                    domain_id=domain.id,
                    address_id=address.id,
                    email=f"box{number}@{domain.name}",
                    password="",
                    password_hash=model.password_hash,
                    quota_mib=1024,
                ).model_dump()
                for tenant, domain in zip(tenants, domains, strict=True)
                for number in range(EACH)
            ]
            session.connection().execute(insert(Mailbox), rows)
            count += len(rows)
            session.expunge_all()


@contextmanager
def _served(settings: Settings) -> Iterator[int]:
    """The API in a process of its own; gives its port."""
    port = _free_port()
    names = msgspec.structs.asdict(msgspec.structs.replace(settings, api_port=port))
    changed = {
        name: value
        for name, value in names.items()
        if value != getattr(Settings(), name) and isinstance(value, str | int | float | Path)
    }
    environment = {f"MAILFLEET_{name.upper()}": str(value) for name, value in changed.items()}
    with _process([sys.executable, "-m", "api"], port, {**os.environ, **environment}):
        yield port


@contextmanager
def _process(command: list[str], port: int, environment: dict[str, str]) -> Iterator[None]:
    process = subprocess.Popen(
        command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        deadline = time.monotonic() + 30
        while process.poll() is None:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except ConnectionRefusedError:
                if time.monotonic() > deadline:
                    raise SystemExit("the server does not listen") from None
                time.sleep(0.1)
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait()


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


def _throughput(port: int, token: str, options: Options) -> Report:
    seconds = options.rounds(SECONDS)
    rows: list[Sequence[Cell]] = []
    empty = _free_port()
    with _process([sys.executable, "-c", EMPTY, str(empty)], empty, dict(os.environ)):
        for name, where, path in (
            ("an empty handler", empty, "/me"),
            ("GET /me", port, "/api/v1/me"),
            ("GET /mailboxes", port, "/api/v1/mailboxes"),
        ):
            rows.append((name, *_wrk(f"http://127.0.0.1:{where}{path}", token, seconds)))
    return Report(
        title=f"One server process, {CONNECTIONS} connections",
        columns=("", "requests a second", "p50, ms", "p99, ms"),
        rows=rows,
    )


def _wrk(url: str, token: str, seconds: int) -> tuple[float, float, float]:
    command = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds}", "--latency"]
    done = subprocess.run(
        [*command, "-H", f"Authorization: Bearer {token}", url],
        check=True,
        capture_output=True,
        text=True,
    )
    if "Non-2xx" in done.stdout:
        raise SystemExit(f"{url}: {done.stdout}")
    rate = re.search(r"Requests/sec:\s+([\d.]+)", done.stdout)
    assert rate is not None
    return float(rate[1]), _quantile(done.stdout, "50%"), _quantile(done.stdout, "99%")


def _quantile(text: str, name: str) -> float:
    found = re.search(rf"{name}\s+([\d.]+)(us|ms|s)", text)
    assert found is not None
    return float(found[1]) * {"us": 0.001, "ms": 1.0, "s": 1000.0}[found[2]]


def _latencies(port: int, token: str, size: int, options: Options) -> list[Sequence[Cell]]:
    connection = http.client.HTTPConnection("127.0.0.1", port)
    headers = {"Authorization": f"Bearer {token}"}

    def get(path: str) -> bytes:
        connection.request("GET", f"/api/v1{path}", headers=headers)
        answer = connection.getresponse()
        body = answer.read()
        if answer.status != 200:
            raise SystemExit(f"{path}: {body!r}")
        return body

    mailbox = msgspec.json.decode(get("/mailboxes"))["data"][EACH // 2]["id"]
    rows: list[Sequence[Cell]] = []
    for path, name in (
        ("/mailboxes", "GET /mailboxes"),
        (f"/mailboxes/{mailbox}", "GET /mailboxes/:id"),
        ("/domains", "GET /domains"),
        ("/ips", "GET /ips"),
        ("/me", "GET /me"),
    ):
        get(path)
        taken = [timed(lambda path=path: get(path)) for _ in range(options.rounds(1000))]  # type: ignore[misc]
        quantiles = (percentile(taken, 0.95), percentile(taken, 0.99))
        rows.append((name, f"{size:,}", statistics.median(taken), *quantiles))
    connection.close()
    return rows
