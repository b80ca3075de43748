"""An installation with something in every table and every file; archives made by hand."""

import gzip
import io
import tarfile
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import clusterkit
import msgspec
from sqlalchemy import Engine
from sqlalchemy import select as columns
from sqlmodel import SQLModel, select
from storekit import Store

from orchestrator import db
from orchestrator.conditions import Type
from orchestrator.dns.records import Purpose
from orchestrator.hosts.jobs import Outcome
from orchestrator.installation import backup
from orchestrator.installation.archive import FORMAT, MANIFEST, member_of
from orchestrator.mail.types import Prepared
from orchestrator.models import (
    AcmeAccount,
    Address,
    ApiKey,
    BillingAccount,
    Bucket,
    Cluster,
    EgressProbe,
    Host,
    Issuance,
    PublishedRecord,
    RateBucket,
    RecordedRequest,
    Registration,
    Release,
    ReleaseState,
    Run,
    Template,
    Workspace,
    utcnow,
)
from orchestrator.plan import Plan
from orchestrator.results import add_run
from orchestrator.services import (
    aliases,
    credentials,
    mailboxes,
    moves,
    relocations,
    scheduled,
)
from orchestrator.services.credentials import Restrictions
from orchestrator.settings import CertificateSource, Settings

ALICE = "alice@acme.com"


def furnish(store: Store) -> dict[str, bytes]:
    """Give the installation every file that a setting can name; gives what is in them."""
    here = store.settings.master_key_file.parent
    names = backup.KEPT - {"master_key_file", "ca_file"} | {"known_hosts_file"}
    fresh = {name: here / name for name in names}
    store.settings = msgspec.structs.replace(store.settings, **fresh)
    paths = backup.paths(store.settings)
    for name, path in paths.items():
        if not path.exists():
            # A file is octets, not text.
            path.write_bytes(b"\xff\x00secret of " + name.encode() + b"\n")
    return {name: path.read_bytes() for name, path in paths.items()}


def elsewhere(directory: Path, database_url: str) -> Settings:
    """The settings of an empty machine: every file has a path, none is there."""
    directory.mkdir()
    names = backup.KEPT | {"known_hosts_file"}
    files: dict[str, Any] = {name: directory / f"{name}.here" for name in names}
    return Settings(database_url=database_url, fleet_domain="fleetlab.net", **files)


def fill(store: Store) -> Workspace:
    """Put something into every table; a move is under way, a message overdue."""
    acme, mx1, mx2 = store.workspace(), store.host(), store.host("mx2", "198.51.100.12")
    store.ready(mx1, mx2)
    store.pool(mx1, "198.51.100.21")
    store.assign(acme)
    store.key(acme)
    store.prove(store.domain(acme))
    zone = store.zone(workspace=acme)
    clusterkit.user(store, acme)
    store.mailboxes(acme, ALICE, "ben@acme.com")
    store.pool(mx2, "198.51.100.31", "198.51.100.32")
    cluster = clusterkit.cluster(store, acme, mx2)
    store.observe(mx1, Type.CONVERGED)
    schedule(store, acme, timedelta(minutes=-5))
    with db.writing(store.engine) as session:
        anything = Restrictions(allow_all_domains=True)
        credentials.create(session, session.get_one(Cluster, cluster.id), "app", anything)
        box = mailboxes.get_by_email(session, acme, ALICE).mailbox
        aliases.add(session, acme, box.id, email="sales@acme.com")
        source = session.exec(select(Address).where(Address.ip == "198.51.100.21")).one()
        move = moves.start(session, source, to_host=session.get_one(Host, mx2.id))
        relocations.gather(session, move)
        key = session.exec(select(ApiKey)).one()
        now, sealed = utcnow(), store.vault.encrypt("sealed")
        session.add_all(
            [
                AcmeAccount(directory_url="https://ca.test/", private_key=sealed),
                BillingAccount(
                    workspace_id=acme.id, customer="cus_1", subscriptions={"ip": ("sub_1", 2)}
                ),
                EgressProbe(address_id=source.id, token="probe"),
                Issuance(host_id=mx1.id, source=CertificateSource.ACME, names=["mx1.fleetlab.net"]),
                PublishedRecord(
                    zone_id=zone.id,
                    subject_id=mx1.id,
                    purpose=Purpose.MX,
                    type="MX",
                    name="acme.com",
                    value="10 mx1.fleetlab.net",
                    withdraw_at=now,
                ),
                RateBucket(key_id=key.id, bucket=Bucket.SEND, full_at=2**52),
                RecordedRequest(
                    key_id=key.id, name="once", digest="d", claim="c", status=200, body=sealed
                ),
                Registration(name="acme.com", workspace_id=acme.id, years=1, reference=uuid4().hex),
                Release(number=1, digest="d", templates={"main.cf": "Ä"}, state=ReleaseState.DONE),
                Template(workspace_id=acme.id, name="hello", subject="Grüße", html="<p>Hi</p>"),
            ]
        )
        run = Run(host_id=mx1.id, generation=3, outcome="")
        add_run(session, run, Plan(), Outcome(None, "", {"swap": 1.5}))
    return acme


def schedule(store: Store, workspace: Workspace, ahead: timedelta) -> str:
    """A message of Alice's that is to be sent so long from now; gives its Message-ID."""
    made = Prepared(f"<{uuid4()}@acme.com>", ("lena@example.com",), b"Subject: later\r\n\r\n.\r\n")
    with db.writing(store.engine) as session:
        scheduled.add(
            session,
            workspace,
            mailboxes.get_by_email(session, workspace, ALICE).mailbox.id,
            message=made,
            sealed=scheduled.seal(store.vault, made),
            send_at=utcnow() + ahead,
        )
    return made.message_id


def rows(engine: Engine) -> dict[str, list[Any]]:
    """All that a database holds, by table, in the order of the ids."""
    with engine.connect() as connection:
        return {
            table.name: list(connection.execute(columns(table).order_by(table.c.id)))
            for table in SQLModel.metadata.sorted_tables
        }


def unpacked(archive: bytes) -> dict[str, bytes]:
    """What is in a backup, by name."""
    with tarfile.open(fileobj=io.BytesIO(archive), mode="r:gz") as tar:
        found = {}
        for member in tar.getmembers():
            file = tar.extractfile(member)
            assert file is not None and member.mode == 0o600
            found[member.name] = file.read()
        return found


def packed(*members: tuple[tarfile.TarInfo | str, bytes]) -> bytes:
    """An archive of these members, each named, or told by its header."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for named, content in members:
            entry = tarfile.TarInfo(named) if isinstance(named, str) else named
            if isinstance(named, str):
                entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content) if entry.isreg() else None)
    return gzip.compress(buffer.getvalue(), 1)


def manifest(members: Mapping[str, bytes], /, **changes: Any) -> bytes:
    """A manifest that tells of these members, but for the changes."""
    told = {name: msgspec.to_builtins(member_of(content)) for name, content in members.items()}
    return msgspec.json.encode(
        {
            "format": FORMAT,
            "version": "0.1.0",
            "schema": "0001",
            "made_at": "2026-01-01T12:00:00Z",
            "rows": {},
            "members": told,
            **changes,
        }
    )


def repacked(archive: bytes, changed: Mapping[str, bytes | None], **changes: Any) -> bytes:
    """A backup with other members, None for without one, and a manifest that agrees."""
    members = {**unpacked(archive), **changed}
    kept = {n: c for n, c in members.items() if c is not None and n != MANIFEST}
    return packed((MANIFEST, manifest(kept, **changes)), *kept.items())
