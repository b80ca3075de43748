"""A DKIM rotation under a stream of mail, with the reconciler killed at every stage of it."""

import email
import os
import re
import signal
import smtplib
import ssl
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.message import EmailMessage, Message
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from imapclient import IMAPClient
from labkit import ROOT, Machine, Operator, Tenant, wait_for

from orchestrator import db, settings
from orchestrator.dns.answers import AnswerStatus
from orchestrator.dns.publishing import ZoneKey, publish
from orchestrator.dns.records import ExpectedRecord, Purpose
from orchestrator.dns.resolver import Resolver
from orchestrator.models import DkimState
from orchestrator.services import dkim_rotation, domains, workspaces
from orchestrator.services.dkim_rotation import KeyStatus

pytestmark = pytest.mark.lab

DOMAIN = "acme-mail.net"
SENDERS = {"mx1": f"alice@{DOMAIN}", "mx2": f"bob@{DOMAIN}"}
RESTART = (
    "from pathlib import Path; from orchestrator import settings;"
    "from orchestrator.lab import control_plane; from orchestrator.lab.state import State;"
    "state = State(Path('.lab').resolve());"
    "control_plane.start(state, settings.load(state.path('mailfleet.toml'), {}))"
)


@dataclass
class Stream:
    """Messages from one mailbox, every other one in a session that lasts."""

    server: str
    user: str
    password: str
    recipient: str
    tls: ssl.SSLContext
    token: str
    #: Set to begin the lasting session anew.
    renew: threading.Event = field(default_factory=threading.Event)
    stopped: threading.Event = field(default_factory=threading.Event)
    sent: int = 0
    problem: Exception | None = None

    def run(self) -> None:
        try:
            while not self.stopped.is_set():
                with self._session() as lasting:
                    while not (self.stopped.is_set() or self.renew.is_set()):
                        self._send(lasting)
                        with self._session() as fresh:
                            self._send(fresh)
                        self.stopped.wait(0.3)
                self.renew.clear()
        except (OSError, smtplib.SMTPException) as error:
            self.problem = error

    @contextmanager
    def _session(self) -> Iterator[smtplib.SMTP_SSL]:
        with smtplib.SMTP_SSL(self.server, 465, context=self.tls, timeout=60) as client:
            client.login(self.user, self.password)
            yield client

    def _send(self, client: smtplib.SMTP_SSL) -> None:
        message = EmailMessage()
        message["From"], message["To"] = self.user, self.recipient
        message["Subject"] = f"{self.token} {self.sent}"
        message.set_content("x")
        client.send_message(message)
        self.sent += 1


@pytest.fixture
def streams(lab: dict[str, Any], operator: Operator, tenant: Tenant) -> Iterator[list[Stream]]:
    made = [
        Stream(
            server=tenant.mailbox(user)["smtpHost"],
            user=user,
            password=operator.ok("mailfleet", "mailboxes", "password", user, "--workspace", "acme"),
            recipient=lab["world"]["mailbox"],
            tls=ssl.create_default_context(cafile=lab["ca"]),
            token=f"{host}-{uuid.uuid4().hex}",
        )
        for host, user in SENDERS.items()
    ]
    threads = [threading.Thread(target=stream.run) for stream in made]
    for thread in threads:
        thread.start()
    yield made
    for stream in made:
        stream.stopped.set()
    for thread in threads:
        thread.join()


@pytest.fixture
def resolver(lab: dict[str, Any]) -> Resolver:
    return Resolver([lab["resolver"]], 5.0)


@pytest.fixture
def keys(operator: Operator) -> Iterator[Callable[[], list[KeyStatus]]]:
    """Looks at the domain's keys, as `mailfleet domains dkim` does."""
    options = settings.load(operator.config, {})
    engine = db.connect(options.database_url)

    def look() -> list[KeyStatus]:
        with db.reading(engine) as session:
            owner = workspaces.get_by_slug(session, "acme")
            return dkim_rotation.status(
                session, options, domains.get_by_name(session, owner, DOMAIN)
            )

    yield look
    engine.dispose()


def is_there(resolver: Resolver, selector: str) -> bool:
    answer = resolver.authoritative(f"{selector}._domainkey.{DOMAIN}", "TXT")
    assert answer.status is not AnswerStatus.FAILED, answer.detail
    return answer.status is AnswerStatus.FOUND


def is_gone(resolver: Resolver, name: str, kind: str) -> bool:
    return resolver.authoritative(name, kind).status is AnswerStatus.ABSENT


def kill_the_reconciler() -> None:
    os.kill(int((ROOT / ".lab" / "reconciler.pid").read_text()), signal.SIGKILL)
    subprocess.run([sys.executable, "-c", RESTART], cwd=ROOT, check=True, timeout=60)


def arrived(lab: dict[str, Any], stream: Stream) -> list[Message]:
    """All messages of the stream, as the world's mailbox has them."""
    world = lab["world"]
    tls = ssl.create_default_context(cafile=lab["ca"])
    with IMAPClient(world["address"], ssl_context=tls) as client:
        client.login(world["mailbox"], world["password"])
        client.select_folder("INBOX", readonly=True)

        def all_there() -> list[int] | None:
            client.noop()
            found: list[int] = client.search(["SUBJECT", stream.token])
            return found if len(found) == stream.sent else None

        found = wait_for(f"{stream.sent} messages of {stream.user}", all_there)
        rows = client.fetch(found, ["BODY.PEEK[HEADER]"])
        return [email.message_from_bytes(row[b"BODY[HEADER]"]) for row in rows.values()]


def signature(message: Message) -> tuple[str, int]:
    """Selector and time of signing (RFC 6376 section 3.5) of a message that verified."""
    results = " ".join(message.get_all("Authentication-Results", []))
    assert re.search(r"\bdkim=pass\b", results), (message["Subject"], results)
    text = "".join(message["DKIM-Signature"].split())
    tags = dict(part.split("=", 1) for part in text.split(";") if part)
    return tags["s"], int(tags["t"])


def test_every_message_of_a_rotation_verifies(
    lab: dict[str, Any],
    operator: Operator,
    resolver: Resolver,
    streams: list[Stream],
    keys: Callable[[], list[KeyStatus]],
) -> None:
    ttl = settings.load(operator.config, {}).record_ttl
    wait_for("one key to sign", lambda: [key.state for key in keys()] == [DkimState.ACTIVE])
    old = keys()[0].selector
    wait_for("mail", lambda: all(stream.sent > 1 for stream in streams))
    operator.ok("mailfleet", "domains", "rotate-dkim", DOMAIN, "--workspace", "acme")
    new = keys()[-1].selector
    absent = time.time()
    kill_the_reconciler()
    while not is_there(resolver, new):
        absent = time.time()
        time.sleep(0.1)
    kill_the_reconciler()
    wait_for("the new key to sign", lambda: keys()[-1].state is DkimState.ACTIVE)
    assert is_there(resolver, old)
    kill_the_reconciler()
    wait_for("the hosts to know", lambda: not keys()[-1].waiting_for)
    for stream in streams:
        stream.renew.set()
    kill_the_reconciler()
    wait_for("the old key to go", lambda: [key.selector for key in keys()] == [new])
    wait_for("its record to go", lambda: not is_there(resolver, old))
    for stream in streams:
        stream.stopped.set()
        assert stream.problem is None
        signatures = [signature(message) for message in arrived(lab, stream)]
        assert {selector for selector, _ in signatures} == {old, new}
        first = min(signed for selector, signed in signatures if selector == new)
        # The time of signing is in whole seconds.
        assert first + 1 > absent + ttl


def test_a_deleted_domain_takes_its_records_with_it(
    lab: dict[str, Any], tenant: Tenant, machines: dict[str, Machine], resolver: Resolver
) -> None:
    name = f"t{uuid.uuid4().hex[:10]}.{DOMAIN}"
    tenant.data("POST", "/domains", {"name": name})
    path = next(f"/domains/{d['id']}" for d in tenant.data("GET", "/domains") if d["name"] == name)
    try:
        wait_for("its first key to sign", lambda: tenant.data("GET", path)["dkimOk"])
        for machine in machines.values():
            assert name in machine.sh("cat /etc/opendkim/signing_table")
        records = tenant.data("GET", path)["records"]
        policy = ExpectedRecord(Purpose.DMARC, "TXT", f"_dmarc.{name}", "v=DMARC1; p=none")
        ours = next(row["value"] for row in records if row["purpose"] == "dmarc")
        edit(lab, policy, ExpectedRecord(Purpose.DMARC, "TXT", policy.name, ours))
    finally:
        tenant.data("DELETE", path)
    for row in records:
        if row["name"] != policy.name:
            wait_for(f"{row['name']} to go", partial(is_gone, resolver, row["name"], row["type"]))
    # What somebody has edited is not ours to take away.
    assert resolver.authoritative(policy.name, "TXT").values == (policy.value,)
    edit(lab, None, policy)


def edit(lab: dict[str, Any], new: ExpectedRecord | None, old: ExpectedRecord) -> None:
    """Somebody's own hand in the zone."""
    described = lab["dns"]
    key = ZoneKey(
        DOMAIN,
        described["authoritative"],
        53,
        described["tsig_name"],
        described["tsig_algorithm"],
        (Path(ROOT) / described["tsig_secret_file"]).read_text().strip(),
    )
    publish(key, [], remove=[old])
    if new is not None:
        publish(key, [new])
