"""Either host is evacuated with one command, and its tenant comes back."""

import json
import ssl
from dataclasses import dataclass
from typing import Any

import pytest
from imapclient import IMAPClient
from imapclient.exceptions import IMAPClientError
from labkit import MAILBOXES, Machine, Operator, Tenant, rest_is_over
from sqlalchemy import Engine

pytestmark = pytest.mark.lab


def messages(lab: dict[str, Any], server: str, email: str, secret: str) -> set[bytes]:
    """What the mailbox holds, by Message-ID."""
    tls = ssl.create_default_context(cafile=lab["ca"])
    with IMAPClient(server, ssl_context=tls, timeout=10) as client:
        client.login(email, secret)
        client.select_folder("INBOX", readonly=True)
        header = "BODY.PEEK[HEADER.FIELDS (MESSAGE-ID)]"
        found = client.fetch(client.search("ALL"), [header])
        return {row[header.replace(".PEEK", "").encode()] for row in found.values()}


@dataclass(frozen=True)
class Box:
    """The demonstration workspace's mailbox on a host, and how to open it."""

    email: str
    secret: str
    home: str


@pytest.fixture
def box(operator: Operator, email: str, server: str) -> Box:
    secret = operator.ok("mailfleet", "mailboxes", "password", email, "--workspace", "acme")
    return Box(email, secret, server)


def test_a_host_is_evacuated_and_taken_up_again(  # noqa: PLR0917 - fixtures
    lab: dict[str, Any],
    operator: Operator,
    machine: Machine,
    tenant: Tenant,
    engine: Engine,
    box: Box,
) -> None:
    old, new = machine.name, next(name for name in MAILBOXES if name != machine.name)
    before = messages(lab, box.home, box.email, box.secret)
    assert before
    away = box.home
    try:
        told = operator.ok("mailfleet", "hosts", "evacuate", old, "--to", new)
        assert f"{old} is drained; 1 of its addresses begin to move" in told
        away = str(tenant.mailbox(box.email)["smtpHost"])
        rows = operator.json("mailfleet", "addresses", "list")
        at = {row["ip"]: row for row in rows}
        assert at[away]["host"] == new
        assert not [row["ip"] for row in rows if row["host"] == old and row["workspace"]]
        assert (at[box.home]["state"], at[away]["workspace"]) == ("cooldown", "acme")
        assert messages(lab, away, box.email, box.secret) == before
        with pytest.raises(IMAPClientError):
            messages(lab, box.home, box.email, box.secret)
        assert machine.run("test", "-e", tenant.home(box.email)).returncode != 0
        records = operator.json(
            "mailfleet", "domains", "records", "acme-mail.net", "--workspace", "acme"
        )
        assert [r["value"] for r in records if r["for"] == "mx"] == [f"10 {new}.fleetlab.net"]
        # What is drained takes nothing new, but stays as it should be.
        refused = operator.run(
            "mailfleet", "addresses", "assign", "--workspace", "acme", "--host", old
        )
        assert refused.returncode != 0
        (row,) = [r for r in operator.json("mailfleet", "hosts", "list") if r["name"] == old]
        assert row["draining"], json.dumps(row)
    finally:
        operator.ok("mailfleet", "hosts", "resume", old)
        if away != box.home:
            rest_is_over(engine)
            operator.ok("mailfleet", "addresses", "move", away, "--to", box.home)
            rest_is_over(engine)
    assert str(tenant.mailbox(box.email)["smtpHost"]) == box.home
    assert messages(lab, box.home, box.email, box.secret) == before
    assert (
        operator.run("reconcile", "status", "--until-converged", "--timeout", "90").returncode == 0
    )
