"""The lab's hosts under a control plane of our own, while the lab's leaves them alone."""

import json
import sqlite3
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
from sqlalchemy import Engine
from sqlmodel import col, select

from orchestrator import db, settings
from orchestrator.control import ControlPlane
from orchestrator.models import Host, utcnow
from orchestrator.secrets import Vault
from orchestrator.services import hosts
from orchestrator.settings import Settings

ROOT = Path(__file__).resolve().parents[1]
CONFIG = ROOT / ".lab" / "mailfleet.toml"
WAIT_SECONDS = 60.0


@dataclass(frozen=True)
class Lab:
    """A control plane with a copy of the lab's database: what it does to hosts is undone."""

    control: ControlPlane
    engine: Engine
    settings: Settings
    hosts: list[Host]


def describe() -> dict[str, Any]:
    """``.lab/lab.json``.

    :raises SystemExit: when there is no lab.
    """
    try:
        described: dict[str, Any] = json.loads((ROOT / ".lab" / "lab.json").read_text())
    except FileNotFoundError:
        raise SystemExit("the lab is not up: run `make up`") from None
    return described


@contextmanager
def borrowed() -> Iterator[Lab]:
    """Pause the lab's hosts, copy its database, and at the end let the lab put all back."""
    describe()
    options = settings.load(CONFIG, {})
    theirs = db.connect(options.database_url)
    paused = _pause(theirs)
    try:
        with tempfile.TemporaryDirectory(prefix="mailfleet-bench-") as directory:
            copy = Path(directory) / "mailfleet.db"
            _copy(Path(theirs.url.database or ""), copy)
            yield from _open(msgspec.structs.replace(options, database_url=f"sqlite:///{copy}"))
    finally:
        with db.writing(theirs) as session:
            for host in session.exec(select(Host).where(col(Host.name).in_(paused))):
                hosts.resume(session, host)
        theirs.dispose()


def _pause(engine: Engine) -> list[str]:
    with db.writing(engine) as session:
        running = [host for host in hosts.list_(session) if not host.paused]
        for host in running:
            hosts.pause(session, host)
        names = [host.name for host in running]
    # A pass that is under way keeps its lease until it ends.
    deadline = time.monotonic() + WAIT_SECONDS
    while time.monotonic() < deadline:
        with db.reading(engine) as session:
            held = select(Host.id).where(col(Host.lease_until) > utcnow())
            if session.exec(held).first() is None:
                break
        time.sleep(0.1)
    return names


def _copy(source: Path, target: Path) -> None:
    with sqlite3.connect(source) as original, sqlite3.connect(target) as copy:
        original.backup(copy)


def _open(options: Settings) -> Iterator[Lab]:
    engine = db.connect(options.database_url)
    with db.writing(engine) as session:
        for host in hosts.list_(session):
            hosts.resume(session, host)
    with ControlPlane(engine, options, Vault(options.master_key_file)) as control:
        with db.reading(engine) as session:
            found = hosts.list_(session)
            session.expunge_all()
        yield Lab(control, engine, options, found)
    engine.dispose()
