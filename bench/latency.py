"""From the API's answer until a client can log in: new mailboxes, new passwords, deletions.

A login that comes too early is answered late, because Dovecot makes guessing slow. So a loop on
the host waits until the mailbox's line in the password file is as wanted, and then real logins
over IMAP and SMTP must succeed at once; opening their connections is not counted. What is told
is therefore never too short. That a deleted mailbox is refused is asked at that moment, too.

Dovecot looks at its password file once in a second at most: where somebody logged in just before
the change, it is seen in the next second. Each change begins in a second without a login.
"""

import statistics
import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from uuid import uuid4

from sqlalchemy import Engine
from sqlmodel import col, select

from bench.clients import Door, Tenant, opened
from bench.measure import percentile
from bench.options import Options
from bench.report import Report, Target
from orchestrator import db
from orchestrator.models import Address, Host, Mailbox, Run, utcnow

P50_MS, P99_MS = 150.0, 500.0


def run(options: Options) -> list[Report]:
    """Two tables: the three changes, and what the reconciler did meanwhile."""
    started = utcnow()
    with opened() as tenant, ThreadPoolExecutor(50) as threads:
        boxes = [_make(tenant) for _ in range(options.rounds(100))]
        for box in boxes:
            _change_password(tenant, box)
        refusals = [_delete(tenant, box, threads) for box in boxes]
        if any(let_in.result() for pair in refusals for let_in in pair):
            raise SystemExit("a deleted mailbox could still log in")
        return [_report(tenant.taken), _steps(tenant.engine, started)]


@dataclass(frozen=True)
class Box:
    """A mailbox and where it lives."""

    row: Mailbox
    host: Host


def _next_second() -> None:
    # A push ends with the second in which it changed the password file.
    time.sleep(2.02 - time.time() % 1)


def _make(tenant: Tenant) -> Box:
    email = f"bench-{uuid4().hex[:12]}@{tenant.domain}"
    _next_second()
    tenant.call("POST", "/mailboxes", {"emails": [email]})
    answered = time.perf_counter()
    with db.reading(tenant.engine) as session:
        placed = (
            select(Mailbox, Host)
            .join(Address, col(Address.id) == col(Mailbox.address_id))
            .join(Host, col(Host.id) == col(Address.host_id))
            .where(Mailbox.email == email)
        )
        box = Box(*session.exec(placed).one())
        session.expunge_all()
    password = tenant.vault.decrypt(box.row.password)
    tenant.await_line(box.host.hostname, "there", f"{email}:")
    _log_in(tenant, "new mailbox", box.host, answered, (email, password))
    return box


def _change_password(tenant: Tenant, box: Box) -> None:
    _next_second()
    answer = tenant.call("POST", f"/mailboxes/mb_{box.row.id.hex}/password", {})
    answered = time.perf_counter()
    with db.reading(tenant.engine) as session:
        hashed = session.get_one(Mailbox, box.row.id).password_hash
    tenant.await_line(box.host.hostname, "there", hashed)
    _log_in(tenant, "new password", box.host, answered, (box.row.email, answer["password"]))


def _log_in(
    tenant: Tenant, what: str, host: Host, since: float, credentials: tuple[str, str]
) -> None:
    arrived = time.perf_counter()
    door = Door(tenant.servers[host.hostname], tenant.tls)
    opened_at = time.perf_counter()
    if not (door.imap(*credentials) and door.smtp(*credentials)):
        raise SystemExit(f"{what}: the login was refused although the host has the mailbox")
    taken = (arrived - since) + (time.perf_counter() - opened_at)
    tenant.taken[what].append(taken * 1000)
    door.close()


def _delete(tenant: Tenant, box: Box, threads: ThreadPoolExecutor) -> list[Future[bool]]:
    with db.reading(tenant.engine) as session:
        row = session.get_one(Mailbox, box.row.id)
        credentials = row.email, tenant.vault.decrypt(row.password)
    door = Door(tenant.servers[box.host.hostname], tenant.tls)
    _next_second()
    tenant.call("DELETE", f"/mailboxes/mb_{box.row.id.hex}")
    answered = time.perf_counter()
    tenant.await_line(box.host.hostname, "gone", f"{credentials[0]}:")
    tenant.taken["deletion"].append((time.perf_counter() - answered) * 1000)
    # Refusals take seconds, so they are waited for at the end.
    return [threads.submit(way, *credentials) for way in (door.imap, door.smtp)]


def _report(taken: dict[str, list[float]]) -> Report:
    rows = []
    targets = []
    for what, values in taken.items():
        p50, p99 = statistics.median(values), percentile(values, 0.99)
        rows.append((what, len(values), min(values), p50, percentile(values, 0.95), p99))
        targets.append(Target(f"{what}, p50", p50, P50_MS, "ms"))
        targets.append(Target(f"{what}, p99", p99, P99_MS, "ms"))
    return Report(
        title="From the API's answer to IMAP LOGIN and SMTP AUTH (deleted: refused), milliseconds",
        columns=("", "runs", "min", "p50", "p95", "p99"),
        rows=rows,
        targets=targets,
    )


def _steps(engine: Engine, since: datetime) -> Report:
    with db.reading(engine) as session:
        runs = session.exec(select(Run).where(col(Run.created_at) > since)).all()
    steps: dict[str, list[float]] = {}
    for run in runs:
        for name, milliseconds in run.timings.items():
            steps.setdefault(name, []).append(milliseconds)
    return Report(
        title=f"Steps of the {len(runs)} pushes meanwhile, milliseconds",
        columns=("step", "median", "p95"),
        rows=[(n, statistics.median(v), percentile(v, 0.95)) for n, v in steps.items()],
    )
