"""A tenant's cluster in a test's database, and a host's queue as it answers over SSH."""

import json
import subprocess
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from sqlmodel import select
from storekit import Store

from orchestrator import db
from orchestrator.conditions import Type
from orchestrator.models import (
    Address,
    Cluster,
    Domain,
    Host,
    Workspace,
    utcnow,
)
from orchestrator.services import (
    cluster_domains,
    clusters,
)

#: Of a host that nothing wakes.
LATER = utcnow() + timedelta(days=1)


@dataclass
class World:
    """A tenant with a cluster without MTAs; each of two hosts has two free addresses."""

    store: Store
    acme: Workspace
    cluster: Cluster
    mx1: Host
    mx2: Host

    def join(self, host: Host, count: int = 1) -> list[Address]:
        with db.writing(self.store.engine) as session:
            cluster = session.get_one(Cluster, self.cluster.id)
            return clusters.add_mta(session, cluster, session.get_one(Host, host.id), count=count)

    def leave(self, host: Host) -> None:
        with db.writing(self.store.engine) as session:
            clusters.leave(session, session.get_one(Host, host.id))

    def converge(self, host: Host) -> None:
        """The host was told of all that was committed until now."""
        with db.writing(self.store.engine) as session:
            session.get_one(Host, host.id).applied_at = utcnow()
        self.store.observe(host, Type.CONVERGED)

    def domain(self, name: str) -> Domain:
        with db.writing(self.store.engine) as session:
            cluster = session.get_one(Cluster, self.cluster.id)
            return cluster_domains.add(
                session, self.store.vault, self.store.settings, cluster, name
            )

    def sleep(self) -> None:
        """No host is due."""
        with db.writing(self.store.engine) as session:
            for host in session.exec(select(Host)):
                host.due_at = host.dns_due_at = LATER

    def woken(self) -> set[str]:
        with db.reading(self.store.engine) as session:
            return {host.name for host in session.exec(select(Host)) if host.due_at < LATER}

    def host(self, host: Host) -> Host:
        with db.reading(self.store.engine) as session:
            return session.get_one(Host, host.id)

    def status(self) -> str:
        with db.reading(self.store.engine) as session:
            return clusters.status(session, session.get_one(Cluster, self.cluster.id))


@dataclass
class Queue:
    """What a host answers when it is asked for its queue; nothing else is run there."""

    directory: Path

    def hold(self, *senders: str) -> None:
        lines = [
            {"queue_id": f"4Zx{number}", "sender": sender, "recipients": [{"address": "x@y.net"}]}
            for number, sender in enumerate(senders)
        ]
        text = "".join(f"{json.dumps(line)}\n" for line in lines)
        (self.directory / "queue").write_text(text)
        self.answer("cat " + str(self.directory / "queue"))

    def answer(self, script: str) -> None:
        program = self.directory / "postqueue"
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)

    def run(self, command: str, stdin: str = "") -> tuple[int, str]:
        done = subprocess.run(
            ["sh", "-c", command],
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
            env={"PATH": f"{self.directory}:/usr/bin:/bin"},
        )
        return done.returncode, done.stdout
