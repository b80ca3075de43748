"""A workspace's whole life as the API's document tells it, by curl, from first order to last.

Every request of the document is made with the URL and the token changed, and each answer has the
documented fields, no fewer and no more.
"""

import json
import subprocess
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from labkit import ROOT, Operator, Tenant, mint_key, rest_is_over, wait_for, withdrawn

from orchestrator import db, settings

pytestmark = pytest.mark.lab

SLUG, DOMAIN = "documented", "bring-your-own.net"
#: The document's own example.
QUICKSTART = r"""
curl https://adbtd.com/api/v1/mailboxes/MAILBOX_ID/send \
  -H "Authorization: Bearer adbtd_live_…" \
  -H "Content-Type: application/json" \
  -d '{
    "to": "you@example.com",
    "subject": "first send from adbtd",
    "text": "Hello from my own IP."
  }'
"""
DOMAIN_FIELDS = {
    *("id", "name", "mode", "status", "spfOk", "dkimOk", "dmarcOk", "mxOk"),
    *("dkimSelector", "createdAt", "lastVerifiedAt"),
}
IP_FIELDS = {"id", "address", "status", "allocatedAt", "lastReputationAt", "reputationFlags"}
MAILBOX_FIELDS = {
    *("id", "email", "smtpHost", "imapHost", "submissionPort", "imapPort", "status"),
    "createdAt",
}
SENT_FIELDS = {"messageId", "accepted", "rejected", "response"}
LISTED_FIELDS = {
    *("uid", "messageId", "subject", "from", "to", "cc", "date", "flags", "size", "seen"),
}
MESSAGE_FIELDS = {
    *("uid", "messageId", "subject", "from", "to", "cc", "date", "text", "html"),
    *("attachments", "flags", "seen"),
}


@dataclass(frozen=True)
class Shell:
    """Where a person types curl."""

    url: str
    token: str

    def curl(self, method: str, path: str, body: object = None) -> Any:
        """A request as the document describes it; the answer must be a success."""
        command = ["curl", "-sS", "--fail-with-body", "-X", method, f"{self.url}{path}"]
        command += ["-H", f"Authorization: Bearer {self.token}"]
        if body is not None:
            command += ["-H", "Content-Type: application/json", "-d", json.dumps(body)]
        return self.answer(command)

    def answer(self, command: list[str]) -> Any:
        """What a command prints, out of its envelope."""
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        (data,) = json.loads(done.stdout).values()
        return data


@pytest.fixture
def shell(lab: dict[str, Any], operator: Operator) -> Iterator[Shell]:
    """A new workspace with its first order, placed by the operator."""
    operator.run("mailfleet", "workspaces", "add", SLUG)
    zone = [
        *("--server", lab["dns"]["authoritative"], "--workspace", SLUG),
        *("--tsig-name", lab["dns"]["customer_tsig_name"]),
        *("--tsig-secret-file", str(ROOT / lab["dns"]["customer_tsig_secret_file"])),
    ]
    operator.ok("mailfleet", "zones", "add", DOMAIN, *zone)
    mailbox = f"alice@{DOMAIN}"
    order = ("--workspace", SLUG, "--ips", "1", "--domain", DOMAIN, "--mailbox", mailbox)
    operator.ok("mailfleet", "orders", "create", *order)
    made = Shell(f"{lab['api']}/api/v1", mint_key(operator, SLUG))
    try:
        yield made
    finally:
        bearer = {"Authorization": f"Bearer {made.token}"}
        with httpx.Client(base_url=made.url, headers=bearer, timeout=60) as client:
            tenant = Tenant(client)
            for row in tenant.data("GET", "/domains"):
                tenant.data("DELETE", f"/domains/{row['id']}", mail="purge")
            for row in tenant.data("GET", "/ips"):
                tenant.data("DELETE", f"/ips/{row['id']}")
        engine = db.connect(settings.load(operator.config, {}).database_url)
        withdrawn(engine, DOMAIN)
        operator.ok("mailfleet", "zones", "remove", DOMAIN)
        rest_is_over(engine)
        engine.dispose()


def provisioned(shell: Shell) -> bool:
    orders = shell.curl("GET", "/orders")
    failed = [order for order in orders if order["status"] == "failed"]
    assert not failed, failed
    return all(order["status"] == "provisioned" for order in orders)


def test_a_workspace_lives_as_documented(shell: Shell, lab: dict[str, Any]) -> None:
    wait_for("the first order", lambda: provisioned(shell), 120)
    me = shell.curl("GET", "/me")
    assert {key: set(value) for key, value in me.items()} == {
        "workspace": {"id", "slug", "name", "currency"},
        "apiKey": {"id", "name"},
    }
    (domain,) = wait_for("its records", lambda: verified(shell), 90)
    assert set(domain) == DOMAIN_FIELDS
    order = shell.curl("POST", "/ips", {"count": 1})
    assert (set(order), order["status"]) == ({"orderId", "status", "ips"}, "pending_provision")
    emails = [f"bob@{DOMAIN}", f"carol@{DOMAIN}"]
    order = shell.curl("POST", "/mailboxes", {"emails": emails})
    assert (set(order), order["emails"]) == ({"orderId", "status", "emails"}, emails)
    order = shell.curl("POST", "/domains", {"name": f"sub.{DOMAIN}", "mode": "byo"})
    assert (set(order), order["domain"]) == ({"orderId", "status", "domain"}, f"sub.{DOMAIN}")
    active = wait_for("active mailboxes", lambda: boxes(shell), 90)
    assert all(set(box) == MAILBOX_FIELDS for box in active.values())
    alice, bob = (active[f"{name}@{DOMAIN}"] for name in ("alice", "bob"))
    assert shell.curl("GET", f"/mailboxes/{alice['id']}") == alice
    sends_and_reads(shell, lab, alice, bob)
    deletes(shell, bob)


def verified(shell: Shell) -> Any:
    rows = shell.curl("GET", "/domains")
    flags = ("spfOk", "dkimOk", "dmarcOk", "mxOk")
    return rows if all(row[flag] for row in rows for flag in flags) else None


def boxes(shell: Shell) -> dict[str, Any] | None:
    rows = shell.curl("GET", "/mailboxes")
    done = all(row["status"] == "active" for row in rows)
    return {row["email"]: row for row in rows} if done else None


def sends_and_reads(shell: Shell, lab: dict[str, Any], alice: Any, bob: Any) -> None:
    command = QUICKSTART.replace("https://adbtd.com/api/v1", shell.url)
    command = command.replace("MAILBOX_ID", alice["id"]).replace("adbtd_live_…", shell.token)
    sent = shell.answer(["bash", "-c", command.replace("you@example.com", lab["world"]["mailbox"])])
    assert set(sent) == SENT_FIELDS
    assert (sent["accepted"], sent["rejected"]) == ([lab["world"]["mailbox"]], [])
    assert sent["response"].startswith("250 2.0.0 Ok: queued")
    assert sent["messageId"].endswith(f"@{DOMAIN}>")
    subject = f"hello {uuid.uuid4().hex}"
    everything = {
        "to": [bob["email"]],
        "cc": [f"carol@{DOMAIN}"],
        "bcc": [alice["email"]],
        "subject": subject,
        "text": "plain body",
        "html": "<p>html body</p>",
        "fromName": "Alice at Acme",
        "replyTo": alice["email"],
    }
    shell.curl("POST", f"/mailboxes/{alice['id']}/send", everything)

    def arrived() -> Any:
        page = shell.curl("GET", f"/mailboxes/{bob['id']}/messages?folder=INBOX&limit=25")
        assert set(page) == {"folder", "total", "messages", "nextBefore"}
        return next((row for row in page["messages"] if row["subject"] == subject), None)

    row = wait_for("the message", arrived)
    assert set(row) == LISTED_FIELDS
    assert (row["from"], row["seen"]) == ([f"Alice at Acme <{alice['email']}>"], False)
    message = shell.curl("GET", f"/mailboxes/{bob['id']}/messages/{row['uid']}?markSeen=1")
    assert set(message) == MESSAGE_FIELDS
    assert (message["text"].strip(), message["seen"]) == ("plain body", True)


def deletes(shell: Shell, bob: Any) -> None:
    assert shell.curl("DELETE", f"/mailboxes/{bob['id']}") == {"deleted": bob["email"]}
    for row in sorted(shell.curl("GET", "/domains"), key=lambda row: len(row["name"])):
        left = 2 if row["name"] == DOMAIN else 0
        assert shell.curl("DELETE", f"/domains/{row['id']}") == {"deletedMailboxes": left}
    for row in shell.curl("GET", "/ips"):
        assert set(row) == IP_FIELDS
        gone = shell.curl("DELETE", f"/ips/{row['id']}")
        assert gone == {"released": row["address"], "cancelledSubscription": False}
    assert [shell.curl("GET", path) for path in ("/domains", "/ips", "/mailboxes")] == [[], [], []]
