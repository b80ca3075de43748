"""A tenant moves from one host to the other and back while mail arrives and a client works."""

import contextlib
import email
import email.policy
import os
import signal
import smtplib
import ssl
import subprocess
import sys
import threading
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
from imapclient import IMAPClient
from imapclient.exceptions import IMAPClientError
from labkit import ROOT, Machine, Operator, Tenant, mint_key, rest_is_over, wait_for, withdrawn
from sqlalchemy import Engine
from sqlmodel import col, select

from orchestrator import db
from orchestrator.lab.demo import TRACE
from orchestrator.models import Move, RelocationState
from orchestrator.services import moves, relocations

pytestmark = pytest.mark.lab

SLUG, DOMAIN = "movers", "bring-your-own.net"
NAME = f"mona{uuid.uuid4().hex[:6]}"
EMAIL = f"{NAME}@{DOMAIN}"
FOLDERS = ("INBOX", "Entwürfe 日本", "Archive.2026")
KEYWORDS = ("$Forwarded", "Projekt1")


def imap(lab: dict[str, Any], server: str, secret: str) -> IMAPClient:
    tls = ssl.create_default_context(cafile=lab["ca"])
    client = IMAPClient(server, ssl_context=tls, timeout=10)
    try:
        client.login(EMAIL, secret)
    except (OSError, IMAPClientError):
        client.shutdown()
        raise
    return client


def server_of(tenant: Tenant) -> str:
    return str(tenant.mailbox(EMAIL)["smtpHost"])


@dataclass
class Reconciler:
    """The lab's reconciler, which can be killed; its successor starts at once."""

    state: Path

    def restart(self, how: signal.Signals, **settings: str) -> None:
        pid = int((self.state / "reconciler.pid").read_text())
        os.kill(pid, how)
        wait_for("the end of the reconciler", lambda: not Path(f"/proc/{pid}").exists())
        # `lab up` and `lab down` find it as they would their own, and it outlives the tests.
        detached = 'setsid "$@" </dev/null >>log/reconciler.log 2>&1 & echo $! >reconciler.pid'
        command = [sys.executable, "-m", "orchestrator.cli", "reconcile", "run"]
        environment = {"MAILFLEET_CONFIG": str(self.state / "mailfleet.toml"), **settings}
        subprocess.run(
            ["sh", "-ceu", detached, "sh", *command],
            env={**os.environ, **environment},
            cwd=self.state,
            check=True,
        )

    def kill(self) -> None:
        self.restart(signal.SIGKILL, MAILFLEET_LEASE_SECONDS="6")


@pytest.fixture(scope="module")
def reconciler() -> Iterator[Reconciler]:
    """One that notices soon that its predecessor was killed."""
    made = Reconciler(ROOT / ".lab")
    made.restart(signal.SIGTERM, MAILFLEET_LEASE_SECONDS="6")
    yield made
    made.restart(signal.SIGTERM)


@pytest.fixture(scope="module")
def movers(
    lab: dict[str, Any], operator: Operator, engine: Engine, reconciler: Reconciler
) -> Iterator[tuple[Tenant, str]]:
    """A tenant of its own on mx1, with a verified domain and a mailbox; and its password."""
    operator.run("mailfleet", "workspaces", "add", SLUG)
    token = mint_key(operator, SLUG)
    operator.ok("mailfleet", "addresses", "assign", "--workspace", SLUG, "--host", "mx1")
    zone = [
        *("--server", lab["dns"]["authoritative"], "--workspace", SLUG),
        *("--tsig-name", lab["dns"]["customer_tsig_name"]),
        *("--tsig-secret-file", str(ROOT / lab["dns"]["customer_tsig_secret_file"])),
    ]
    operator.ok("mailfleet", "zones", "add", DOMAIN, *zone)
    bearer = {"Authorization": f"Bearer {token}"}
    with httpx.Client(base_url=f"{lab['api']}/api/v1", headers=bearer, timeout=60) as client:
        tenant = Tenant(client)
        tenant.data("POST", "/domains", {"name": DOMAIN})
        tenant.data("POST", "/mailboxes", {"emails": [EMAIL]})
        try:
            wait_for("its records", lambda: records_seen(tenant), 90)
            wait_for("its mailbox", lambda: tenant.mailbox(EMAIL)["status"] == "active", 90)
            secret = operator.ok("mailfleet", "mailboxes", "password", EMAIL, "--workspace", SLUG)
            yield tenant, secret
        finally:
            clean_up(operator, engine, tenant)


def records_seen(tenant: Tenant) -> bool:
    (row,) = tenant.data("GET", "/domains")
    return all(row[flag] for flag in ("spfOk", "dkimOk", "dmarcOk", "mxOk"))


def clean_up(operator: Operator, engine: Engine, tenant: Tenant) -> None:
    for row in tenant.data("GET", "/domains"):
        tenant.data("DELETE", f"/domains/{row['id']}")
    for row in tenant.data("GET", "/ips"):
        tenant.call("DELETE", f"/ips/{row['id']}")
    withdrawn(engine, DOMAIN)
    operator.ok("mailfleet", "zones", "remove", DOMAIN)
    rest_is_over(engine)


@dataclass
class Background:
    """Something that goes on while the tenant moves."""

    step: Callable[[int], None]
    stopped: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> "Background":
        self.thread = threading.Thread(target=self._run)
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stopped.set()
        self.thread.join()

    def _run(self) -> None:
        number = 0
        while not self.stopped.wait(0.2):
            with contextlib.suppress(OSError, smtplib.SMTPException, httpx.HTTPError):
                self.step(number)
            number += 1


def deliver(lab: dict[str, Any], accepted: set[str], run: str) -> Callable[[int], None]:
    """Deliver a message to one of the hosts, in turn, as a stranger would to an MX."""

    def step(number: int) -> None:
        host = lab["hosts"][number % 2]["address"]
        subject = f"{run} {number}"
        text = f"From: walter@worldpost.org\r\nSubject: {subject}\r\n\r\nx\r\n"
        with smtplib.SMTP(host, 25, timeout=20) as client:
            client.ehlo("world.worldpost.org")
            client.sendmail("walter@worldpost.org", [EMAIL], text)
        accepted.add(subject)

    return step


@dataclass
class Reader:
    """A client that goes on setting flags, and logs in again whenever it is thrown out."""

    lab: dict[str, Any]
    tenant: Tenant
    secret: str
    flags: dict[int, set[str]] = field(default_factory=dict)
    client: IMAPClient | None = None
    changes: int = 0

    def step(self, number: int) -> None:
        uid = number % 20 + 1
        wanted = {"\\Seen", KEYWORDS[number % 2]} if number % 3 else {"\\Flagged"}
        try:
            if self.client is None:
                self.client = imap(self.lab, server_of(self.tenant), self.secret)
                self.client.select_folder(FOLDERS[1])
            # Until it was confirmed nobody knows whether it was done: it is tried again.
            self.flags.pop(uid, None)
            self.client.set_flags([uid], sorted(wanted))
            self.flags[uid] = wanted
            self.changes += 1
        except (OSError, IMAPClientError):
            self.close()

    def close(self) -> None:
        if self.client is not None:
            self.client.shutdown()
        self.client = None


def fill(lab: dict[str, Any], server: str, secret: str) -> None:
    with imap(lab, server, secret) as client:
        for folder in FOLDERS[1:]:
            client.create_folder(folder)
            client.subscribe_folder(folder)
        for folder in FOLDERS:
            for number in range(20):
                flags = ["\\Seen", KEYWORDS[0]] if number % 2 else ["\\Flagged"]
                client.append(folder, f"Subject: {folder.encode()!r} {number}\r\n\r\nx\r\n", flags)
        client.select_folder("INBOX")
        client.delete_messages([3])
        client.expunge([3])


def contents(client: IMAPClient) -> dict[str, tuple[int, dict[int, tuple[str, set[str]]]]]:
    """By folder: UIDVALIDITY, and for each UID the subject and the flags."""
    found = {}
    for attributes, _, name in client.list_folders():
        if rb"\Noselect" in attributes:
            continue
        validity = client.select_folder(name, readonly=True)[b"UIDVALIDITY"]
        rows = client.fetch(client.search("ALL"), ["FLAGS", "BODY.PEEK[HEADER.FIELDS (SUBJECT)]"])
        messages = {
            uid: (
                row[b"BODY[HEADER.FIELDS (SUBJECT)]"].decode().removeprefix("Subject: ").strip(),
                {flag.decode() for flag in row[b"FLAGS"]} - {"\\Recent"},
            )
            for uid, row in rows.items()
        }
        if messages:
            found[name] = (validity, messages)
    return found


@pytest.mark.parametrize(
    ("old", "new", "killed_in"),
    [("mx1", "mx2", ["copying", "held"]), ("mx2", "mx1", ["overlapping"])],
)
def test_a_tenant_moves_with_all_of_its_mail(  # noqa: PLR0917 - fixtures
    lab: dict[str, Any],
    operator: Operator,
    machines: dict[str, Machine],
    engine: Engine,
    reconciler: Reconciler,
    movers: tuple[Tenant, str],
    old: str,
    new: str,
    killed_in: list[str],
) -> None:
    tenant, secret = movers
    (ip,) = (row["address"] for row in tenant.data("GET", "/ips"))
    source = server_of(tenant)
    if old == "mx1":
        fill(lab, source, secret)
    with imap(lab, source, secret) as client:
        before = contents(client)
    run, accepted = uuid.uuid4().hex[:8], set[str]()
    reader = Reader(lab, tenant, secret)
    sender = deliver(lab, accepted, run)
    with contextlib.closing(reader), Background(reader.step), Background(sender):
        operator.ok("mailfleet", "addresses", "move", ip, "--to-host", new, "--no-wait")
        for phase in killed_in:
            wait_for(phase, partial(reached, engine, phase), 90, every=0.02)
            reconciler.kill()
        wait_for("the end of the move", partial(reached, engine, "done"), 120)
        changes = reader.changes
        wait_for("a change on the new host", lambda: reader.changes > changes + 3)
    target = server_of(tenant)
    assert target in next(row["dedicated_ips"] for row in lab["hosts"] if row["name"] == new)
    assert len(accepted) > 10

    def everything() -> bool:
        with imap(lab, target, secret) as client:
            arrived = [subject for subject, _ in contents(client)["INBOX"][1].values()]
        return accepted <= set(arrived)

    wait_for("all that was accepted", everything, 90)
    with imap(lab, target, secret) as client:
        after = contents(client)
        subscribed = {name for _, _, name in client.list_sub_folders()}
    assert subscribed >= set(FOLDERS[1:])
    assert_same(before, after, accepted, reader.flags)
    # Nobody serves it on the old host, and nothing is left there.
    with pytest.raises(IMAPClientError):
        imap(lab, source, secret)
    assert not machines[old].sh(f"find /var/vmail -path '*/{DOMAIN}/{NAME}'")
    rows = {row["ip"]: row for row in operator.json("mailfleet", "addresses", "list")}
    assert (rows[ip]["state"], rows[ip]["workspace"]) == ("cooldown", None)
    assert rows[target]["workspace"] == SLUG
    shown = operator.json("mailfleet", "domains", "records", DOMAIN, "--workspace", SLUG)
    values = {row["for"]: row["value"] for row in shown}
    assert values["mx"] == f"10 {new}.fleetlab.net"
    assert values["spf"] == f"v=spf1 ip4:{target} -all"
    wait_for("the records in DNS", lambda: records_seen(tenant))
    assert_sends(lab, tenant, target)
    rest_is_over(engine)


def reached(engine: Engine, phase: str) -> bool:
    """Whether the latest move is in a phase, or mailboxes are held."""
    with db.reading(engine) as session:
        move = session.exec(select(Move).order_by(col(Move.id).desc())).first()
        assert move is not None
        held = [row.state is RelocationState.HELD for row, _ in relocations.living(session, move)]
        return any(held) if phase == "held" else move.phase == phase


def assert_same(before: Any, after: Any, accepted: set[str], flags: dict[int, set[str]]) -> None:
    """Every message once, under its UID, with its flags or those that were set meanwhile."""
    for name, (validity, messages) in before.items():
        validity_now, found = after[name]
        assert validity_now == validity
        for uid, (subject, old_flags) in messages.items():
            expected = flags.get(uid, None if uid <= 20 else old_flags)
            if name != FOLDERS[1]:
                expected = old_flags
            assert found[uid][0] == subject
            assert expected is None or found[uid][1] == expected, (name, uid)
        new = [subject for uid, (subject, _) in found.items() if uid not in messages]
        assert len(set(new)) == len(new), "a message arrived twice"
        assert set(new) == (accepted if name == "INBOX" else set())


def assert_sends(lab: dict[str, Any], tenant: Tenant, ip: str) -> None:
    """Mail leaves from the new address, and an independent receiver believes it."""
    box = tenant.mailbox(EMAIL)
    body = {"to": lab["world"]["mailbox"], "subject": "moved", "text": "x"}
    sent = tenant.data("POST", f"/mailboxes/{box['id']}/send", body)
    tls = ssl.create_default_context(cafile=lab["ca"])

    def look() -> bytes | None:
        with IMAPClient(lab["world"]["address"], ssl_context=tls) as client:
            client.login(lab["world"]["mailbox"], lab["world"]["password"])
            client.select_folder("INBOX", readonly=True)
            found = client.search(["HEADER", "Message-ID", sent["messageId"]])
            return client.fetch(found, ["BODY.PEEK[]"])[found[0]][b"BODY[]"] if found else None

    raw = wait_for("the message", look)
    arrived = email.message_from_bytes(raw, policy=email.policy.default)
    verdicts = " ".join(str(value) for value in arrived.get_all("Authentication-Results", []))
    assert "spf=pass" in verdicts
    assert "dkim=pass" in verdicts
    traces = [" ".join(str(line).split()) for line in arrived.get_all("Received", [])]
    assert next(match for line in traces if (match := TRACE.match(line)))[3] == ip


def test_a_move_that_waits_for_a_paused_host_is_called_back_and_leaves_nothing(
    operator: Operator, engine: Engine, movers: tuple[Tenant, str]
) -> None:
    tenant, _ = movers
    (ip,) = (row["address"] for row in tenant.data("GET", "/ips"))
    assert "queue of mx1 is empty" in operator.ok("mailfleet", "hosts", "drain", "mx1")
    try:
        operator.ok("mailfleet", "hosts", "pause", "mx1", "--reason", "new disk")
        rows = {row["name"]: row for row in operator.json("mailfleet", "hosts", "list")}
        assert (rows["mx1"]["draining"], rows["mx1"]["reason"]) == (True, "new disk")
        operator.ok("mailfleet", "addresses", "move", ip, "--no-wait")
        assert len(tenant.data("GET", "/ips")) == 2
        wait_for("what it waits for", lambda: "mx1 is paused" in waits_for(engine))
        assert "cancelled" in operator.ok("mailfleet", "addresses", "move", ip, "--cancel")
    finally:
        operator.ok("mailfleet", "hosts", "resume", "mx1")
    rows = {row["name"]: row for row in operator.json("mailfleet", "hosts", "list")}
    assert (rows["mx1"]["draining"], rows["mx1"]["paused"]) == (False, False)
    assert [row["address"] for row in tenant.data("GET", "/ips")] == [ip]
    rest_is_over(engine)


def waits_for(engine: Engine) -> str:
    with db.reading(engine) as session:
        return moves.list_(session, ended=True)[-1].message
