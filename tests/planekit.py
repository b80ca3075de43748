"""A second control plane over the lab's hosts, for tests that stop, kill or starve one."""

import json
import os
import signal
import subprocess
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from labkit import BIN, Operator, wait_for
from processkit import family, send
from sqlalchemy import Engine
from sqlmodel import col, select

from orchestrator import db
from orchestrator.models import Host

#: What the lab's own control plane keeps: there is one of each on the machine.
_OWN = {"probe_listen": [], "metrics_listen": ""}


@dataclass
class Plane:
    """A control plane's settings and database, and the reconcilers that a test started on it."""

    operator: Operator
    engine: Engine
    reconcilers: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def log(self) -> Path:
        """What its reconcilers say."""
        return self.operator.config.parent / "reconciler.log"

    def start_reconciler(self) -> subprocess.Popen[bytes]:
        """Run one more `reconcile run`; the plane stops it at its end."""
        with self.log.open("ab") as log:
            process = subprocess.Popen(
                [BIN / "reconcile", "run"],
                env={**os.environ, "MAILFLEET_CONFIG": str(self.operator.config)},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.reconcilers.append(process)
        return process

    def stop(self) -> None:
        """End its reconcilers and what came from them, paused ones too."""
        started = [pid for process in self.reconcilers for pid in family(process.pid)]
        send(started, signal.SIGCONT)
        try:
            for process in self.reconcilers:
                process.terminate()
            for process in self.reconcilers:
                process.wait(timeout=60)
        except subprocess.TimeoutExpired:
            send(started, signal.SIGKILL)
            raise
        finally:
            self.engine.dispose()


@contextmanager
def takeover(
    lab: Operator, directory: Path, database_url: str | None = None, **settings: Any
) -> Iterator[Plane]:
    """Have the lab's hosts, with all its rows, for the block; its own reconciler lets them be.

    Whatever the plane changes on the hosts, the lab's own puts right afterwards: a host tells
    its generation, and the next one is higher. It has done so when this returns.

    :param database_url: an empty database; by default SQLite's in the directory.
    :param settings: those that differ from the lab's.
    """
    names = [row["name"] for row in lab.json("mailfleet", "hosts", "list")]
    for name in names:
        lab.ok("mailfleet", "hosts", "pause", name)
    try:
        plane = _plane(lab, directory, database_url, settings)
        for name in names:
            plane.operator.ok("mailfleet", "hosts", "resume", name)
        try:
            yield plane
        finally:
            plane.stop()
    finally:
        for name in names:
            lab.ok("mailfleet", "hosts", "resume", name)
        wait_for("the lab's own configuration", lambda: _settled(lab), 180)


def _settled(operator: Operator) -> bool:
    """Whether the hosts are what its rows say."""
    plans = operator.json("reconcile", "plan")
    return all(plan["reason"] is None and not plan["changes"] for plan in plans)


def _plane(
    lab: Operator, directory: Path, database_url: str | None, settings: dict[str, Any]
) -> Plane:
    values = tomllib.loads(lab.config.read_text())
    wait_for_the_end_of_passes(str(values["database_url"]))
    values = {name: _absolute(lab.config.parent, value) for name, value in values.items()}
    url = database_url or f"sqlite:///{directory / 'mailfleet.db'}"
    lab.ok("mailfleet", "db", "copy", "--to", url)
    config = directory / "mailfleet.toml"
    # JSON's strings, numbers, booleans and arrays are TOML's.
    merged = {**values, **_OWN, **settings, "database_url": url}
    config.write_text("".join(f"{name} = {json.dumps(v)}\n" for name, v in merged.items()))
    return Plane(Operator(config), db.connect(url))


def _absolute(base: Path, value: object) -> object:
    exists = isinstance(value, str) and value and "/" not in value and (base / value).exists()
    return str(base / str(value)) if exists else value


def wait_for_the_end_of_passes(url: str) -> None:
    """Return once no pass holds a host."""
    engine = db.connect(url)

    def none_held() -> bool:
        with db.reading(engine) as session:
            held = select(Host.id).where(col(Host.lease_owner).is_not(None))
            return session.exec(held).first() is None

    wait_for("the end of the passes", none_held)
    engine.dispose()
