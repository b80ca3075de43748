"""A host is evacuated with one command, and its tenant comes back."""

import json
import ssl
from typing import Any

import pytest
from imapclient import IMAPClient
from imapclient.exceptions import IMAPClientError
from labkit import MAILBOXES, Machine, Operator, Tenant, rest_is_over
from sqlalchemy import Engine

pytestmark = pytest.mark.lab

EMAIL = MAILBOXES["mx1"]


def messages(lab: dict[str, Any], server: str, secret: str) -> set[bytes]:
    """What alice has, by Message-ID."""
    tls = ssl.create_default_context(cafile=lab["ca"])
    with IMAPClient(server, ssl_context=tls, timeout=10) as client:
        client.login(EMAIL, secret)
        client.select_folder("INBOX", readonly=True)
        header = "BODY.PEEK[HEADER.FIELDS (MESSAGE-ID)]"
        found = client.fetch(client.search("ALL"), [header])
        return {row[header.replace(".PEEK", "").encode()] for row in found.values()}


def test_a_host_is_evacuated_and_taken_up_again(
    lab: dict[str, Any],
    operator: Operator,
    machines: dict[str, Machine],
    tenant: Tenant,
    engine: Engine,
) -> None:
    home = str(tenant.mailbox(EMAIL)["smtpHost"])
    secret = operator.ok("mailfleet", "mailboxes", "password", EMAIL, "--workspace", "acme")
    before = messages(lab, home, secret)
    assert before
    away = home
    try:
        told = operator.ok("mailfleet", "hosts", "evacuate", "mx1", "--to", "mx2")
        assert "mx1 is drained; 1 of its addresses begin to move" in told
        away = str(tenant.mailbox(EMAIL)["smtpHost"])
        rows = operator.json("mailfleet", "addresses", "list")
        at = {row["ip"]: row for row in rows}
        assert at[away]["host"] == "mx2"
        assert not [row["ip"] for row in rows if row["host"] == "mx1" and row["workspace"]]
        assert (at[home]["state"], at[away]["workspace"]) == ("cooldown", "acme")
        assert messages(lab, away, secret) == before
        with pytest.raises(IMAPClientError):
            messages(lab, home, secret)
        assert machines["mx1"].run("test", "-e", "/var/vmail/acme-mail.net/alice").returncode != 0
        records = operator.json(
            "mailfleet", "domains", "records", "acme-mail.net", "--workspace", "acme"
        )
        assert [r["value"] for r in records if r["for"] == "mx"] == ["10 mx2.fleetlab.net"]
        # What is drained takes nothing new, but stays as it should be.
        refused = operator.run(
            "mailfleet", "addresses", "assign", "--workspace", "acme", "--host", "mx1"
        )
        assert refused.returncode != 0
        (row,) = [r for r in operator.json("mailfleet", "hosts", "list") if r["name"] == "mx1"]
        assert row["draining"], json.dumps(row)
    finally:
        operator.ok("mailfleet", "hosts", "resume", "mx1")
        if away != home:
            rest_is_over(engine)
            operator.ok("mailfleet", "addresses", "move", away, "--to", home)
            rest_is_over(engine)
    assert str(tenant.mailbox(EMAIL)["smtpHost"]) == home
    assert messages(lab, home, secret) == before
    assert (
        operator.run("reconcile", "status", "--until-converged", "--timeout", "90").returncode == 0
    )
