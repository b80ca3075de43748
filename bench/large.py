"""A host with 10,000 mailboxes: looking at it, changing one, and pushing all of it."""

import statistics
from collections.abc import Callable, Sequence
from dataclasses import replace

from sqlmodel import Session, col, delete, select, update

from bench import lab, seed
from bench.measure import interleaved, percentile, profile, timed
from bench.options import Options
from bench.report import Cell, Report
from orchestrator import db, passes, plan, rendering, secrets
from orchestrator.models import Address, Domain, Host, Mailbox
from orchestrator.results import Result
from orchestrator.spec import carried

COUNT = 10_000


def run(options: Options) -> list[Report]:
    """A table for each lab host; the lab puts them back afterwards."""
    with lab.borrowed() as borrowed:
        return [_host(borrowed, host, options) for host in borrowed.hosts]


def _host(borrowed: lab.Lab, host: Host, options: Options) -> Report:
    count = COUNT // 10 if options.quick else COUNT
    fleet, reconciler = borrowed.control.fleet, borrowed.control.reconciler

    def settle() -> Result:
        result = reconciler.reconcile(host.id)
        if result.reason is not None:
            raise SystemExit(f"{host.name}: {result.reason} {result.message}")
        return result

    settle()
    with db.writing(borrowed.engine) as session:
        domain, address = _place(session, host)
        hashed = secrets.hash_password(secrets.new_password())
        seed.add_mailboxes(session, domain, address, count, hashed)
        mailbox = select(Mailbox.id).where(Mailbox.email == f"box{count // 2}@{domain.name}")
        chosen = session.exec(mailbox).one()
    whole: list[Result] = []
    pushed = timed(lambda: whole.append(settle()))
    rows: list[Sequence[Cell]] = [("whole host, pushed", 1, pushed, pushed, pushed)]

    def wanted() -> object:
        with db.reading(borrowed.engine) as session:
            return fleet.want(session, host, carried(session, host))

    with db.reading(borrowed.engine) as session:
        spec = fleet.want(session, host, carried(session, host))
    files = rendering.render(spec)
    parts: dict[str, Callable[[], object]] = {
        "rows to HostSpec": wanted,
        "rendering": lambda: rendering.render(spec),
        "digests": lambda: plan.daemon_digests([replace(file) for file in files]),
        "pass with nothing to change": settle,
    }
    changes: list[Result] = []

    def change() -> None:
        with db.writing(borrowed.engine) as session:
            number = 2048 + len(changes)
            session.exec(update(Mailbox).where(col(Mailbox.id) == chosen).values(quota_mib=number))
        result = settle()
        assert [c.subject for c in result.plan.changes] == ["/etc/dovecot/users"], result.plan
        changes.append(result)

    taken = interleaved({**parts, "pass with one mailbox changed": change}, options.rounds(20))
    with db.writing(borrowed.engine) as session:
        # The other host would know them all as remote ones.
        session.exec(delete(Mailbox).where(col(Mailbox.email).startswith("box")))
    for other in borrowed.hosts:
        passes.settle(borrowed.control, other.id, allow_removals=True)
    for name, values in taken.items():
        figures = (min(values), statistics.median(values), percentile(values, 0.95))
        rows.append((name, len(values), *figures))
    return Report(
        title=f"{count:,} mailboxes on {host.name} ({host.os}), milliseconds",
        columns=("", "runs", "min", "median", "p95"),
        rows=rows,
        notes=[
            f"whole host, on it: {_steps(whole)}",
            f"one mailbox, on the host: {_steps(changes)}",
        ],
        profiles=[profile(settle, 5)] if options.profile else [],
    )


def _place(session: Session, host: Host) -> tuple[Domain, Address]:
    """A proven domain of a tenant who has an address on the host, and that address."""
    placed = (
        select(Domain, Address)
        .join(Address, col(Address.workspace_id) == col(Domain.workspace_id))
        .where(
            Address.host_id == host.id,
            col(Domain.verified_at).is_not(None),
            col(Domain.deleted_at).is_(None),
        )
    )
    found = session.exec(placed).first()
    if found is None:
        raise SystemExit(f"no tenant has a proven domain on {host.name}")
    return found


def _steps(results: list[Result]) -> str:
    steps: dict[str, list[float]] = {}
    for result in results:
        for name, milliseconds in result.timings.items():
            steps.setdefault(name, []).append(milliseconds)
    return ", ".join(f"{name} {statistics.median(values):.0f}" for name, values in steps.items())
