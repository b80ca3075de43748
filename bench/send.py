"""Sending through the API beside submitting the same messages over a kept SMTP session.

What the API adds is authentication, checks, the message's making and HTTP. Mail goes to the
mailbox itself, so that nothing but its own host is measured. Where the API limits requests by
key, the limit has to be above the rate that is measured.
"""

import contextlib
import json
import socket
import statistics
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.client import HTTPConnection

from sqlmodel import select

from bench import lab
from bench.clients import Tenant, opened
from bench.measure import interleaved, percentile
from bench.options import Options
from bench.report import Report, Target
from orchestrator import db, settings
from orchestrator.mail import submission
from orchestrator.mail.mime import prepare
from orchestrator.mail.types import MailboxAccess, OutgoingMessage
from orchestrator.models import Mailbox, Workspace
from orchestrator.services import mailboxes

LEAST_SHARE = 0.8
MOST_ADDED_MS = 5.0
SIZES = {"1 KiB": 1024, "1 MiB": 1024 * 1024}


def run(options: Options) -> list[Report]:
    """One table: each size of message, both ways."""
    rows, targets = [], []
    with (
        opened() as tenant,
        contextlib.closing(submission.connections()) as pool,
        contextlib.closing(_connected(tenant)) as http,
    ):
        access, path = _mailbox(tenant)
        for name, size in SIZES.items():
            text = ("x" * 75 + "\n") * (size // 76)
            outgoing = OutgoingMessage((access.email,), "bench", text=text)
            message = prepare(access.email, outgoing, size_limit=10 * size)
            body = {"to": access.email, "subject": "bench", "text": text}
            taken = interleaved(
                {
                    "API": partial(_post, http, tenant, path, body),
                    "SMTP": partial(submission.submit, pool, access, message),
                },
                options.rounds(300),
            )
            for way, values in taken.items():
                p50 = statistics.median(values)
                rate = 1000 / statistics.fmean(values)
                rows.append((f"{name}, {way}", len(values), p50, percentile(values, 0.99), rate))
            share = statistics.fmean(taken["SMTP"]) / statistics.fmean(taken["API"])
            added = statistics.median(taken["API"]) - statistics.median(taken["SMTP"])
            targets.append(
                Target(f"{name}: share of SMTP's rate", share, LEAST_SHARE, "", least=True)
            )
            targets.append(Target(f"{name}: added, p50", added, MOST_ADDED_MS, "ms"))
    return [
        Report(
            title="One message after another through the API, and over a kept session",
            columns=("", "runs", "p50 ms", "p99 ms", "messages/s"),
            rows=rows,
            targets=targets,
        )
    ]


def _connected(tenant: Tenant) -> HTTPConnection:
    """A plain connection to the API: a comfortable client would take a millisecond itself."""
    url = tenant.api.base_url
    connection = HTTPConnection(url.host, url.port, timeout=60)
    connection.connect()
    # It sends headers and body apart: the second would wait for the first to be confirmed.
    connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def _post(connection: HTTPConnection, tenant: Tenant, path: str, body: object) -> None:
    headers = {
        "Authorization": tenant.api.headers["authorization"],
        "Content-Type": "application/json",
    }
    target = f"{tenant.api.base_url.path.rstrip('/')}{path}"
    connection.request("POST", target, json.dumps(body).encode(), headers)
    answer = connection.getresponse()
    text = answer.read()
    if answer.status != 200:
        raise SystemExit(f"the API answers {answer.status}: {text.decode()}")


def _mailbox(tenant: Tenant) -> tuple[MailboxAccess, str]:
    """The tenant's first mailbox, and where the API sends from it."""
    with db.reading(tenant.engine) as session:
        email = tenant.call("GET", "/mailboxes")[0]["email"]
        row = session.exec(select(Mailbox).where(Mailbox.email == email)).one()
        owner = session.get_one(Workspace, row.workspace_id)
        placed = mailboxes.get(session, owner, row.id)
        access = mailboxes.access(tenant.vault, settings.load(lab.CONFIG, {}), placed)
    return access, f"/mailboxes/mb_{row.id.hex}/send"


@contextmanager
def mailbox_access() -> Iterator[MailboxAccess]:
    """How to log in to a mailbox of the lab's demonstration workspace."""
    with opened() as tenant:
        yield _mailbox(tenant)[0]
