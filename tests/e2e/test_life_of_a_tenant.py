"""A tenant through the API, on both hosts: domains, mailboxes, mail between hosts, deletion."""

import smtplib
import ssl
import uuid
from collections.abc import Iterator
from functools import partial
from typing import Any

import dns.name
import dns.query
import dns.rcode
import dns.tsigkeyring
import dns.update
import pytest
from labkit import MAILBOXES, ROOT, Machine, Operator, Tenant, wait_for

pytestmark = pytest.mark.lab


def find(tenant: Tenant, email: str, subject: str) -> Any:
    box = tenant.mailbox(email)

    def look() -> Any:
        page = tenant.data("GET", f"/mailboxes/{box['id']}/messages")
        return next((row for row in page["messages"] if row["subject"] == subject), None)

    found = wait_for(f"{subject} in {email}", look)
    return tenant.data("GET", f"/mailboxes/{box['id']}/messages/{found['uid']}")


@pytest.mark.parametrize(("sender", "receiver"), [("mx1", "mx2"), ("mx2", "mx1"), ("mx1", "mx1")])
def test_mail_between_mailboxes_of_one_domain_on_two_hosts(
    tenant: Tenant, sender: str, receiver: str
) -> None:
    subject = f"inside {uuid.uuid4().hex} — grüße"
    box = tenant.mailbox(MAILBOXES[sender])
    sent = tenant.data(
        "POST",
        f"/mailboxes/{box['id']}/send",
        {"to": MAILBOXES[receiver], "subject": subject, "text": "naïve", "html": "<p>naïve</p>"},
    )
    assert sent["accepted"] == [MAILBOXES[receiver]]
    assert sent["response"].startswith("250 2.0.0 Ok")
    arrived = find(tenant, MAILBOXES[receiver], subject)
    assert arrived["text"].strip() == "naïve"
    assert arrived["html"].strip() == "<p>naïve</p>"
    assert arrived["seen"] is False


@pytest.fixture
def mailbox(tenant: Tenant) -> Iterator[Any]:
    """A mailbox of its own, active; gone again afterwards."""
    email = f"t{uuid.uuid4().hex[:10]}@acme-mail.net"
    tenant.data("POST", "/mailboxes", {"emails": [email]})
    wait_for("an active mailbox", lambda: tenant.mailbox(email)["status"] == "active")
    made = tenant.mailbox(email)
    yield made
    if tenant.call("GET", f"/mailboxes/{made['id']}").status_code == 200:
        tenant.data("DELETE", f"/mailboxes/{made['id']}")


def test_a_new_mailbox_sends_from_its_own_address_at_once(
    tenant: Tenant, lab: dict[str, Any], mailbox: Any
) -> None:
    sent = tenant.data(
        "POST",
        f"/mailboxes/{mailbox['id']}/send",
        {"to": "alice@acme-mail.net", "subject": mailbox["email"], "text": "x"},
    )
    assert sent["rejected"] == []
    assert find(tenant, "alice@acme-mail.net", mailbox["email"])["from"].endswith(mailbox["email"])


def test_a_deleted_mailbox_is_refused_everywhere(
    tenant: Tenant, operator: Operator, lab: dict[str, Any], mailbox: Any
) -> None:
    email, server = mailbox["email"], mailbox["smtpHost"]
    password = operator.ok("mailfleet", "mailboxes", "password", email, "--workspace", "acme")
    tls = ssl.create_default_context(cafile=lab["ca"])

    def login() -> bool:
        with smtplib.SMTP_SSL(server, 465, context=tls, timeout=20) as client:
            try:
                client.login(email, password)
            except smtplib.SMTPAuthenticationError:
                return False
            return True

    assert login()
    assert tenant.data("DELETE", f"/mailboxes/{mailbox['id']}") == {"deleted": email}
    assert tenant.call("GET", f"/mailboxes/{mailbox['id']}").status_code == 404
    wait_for("the login to be refused", lambda: not login())
    with smtplib.SMTP(server, 25, timeout=20) as client:
        client.ehlo("world.worldpost.org")
        client.mail("walter@worldpost.org")
        assert client.rcpt(email)[0] == 550


def test_paging_neither_skips_nor_repeats(tenant: Tenant, mailbox: Any) -> None:
    subjects = [f"page {number}" for number in range(7)]
    for subject in subjects:
        tenant.data(
            "POST",
            f"/mailboxes/{mailbox['id']}/send",
            {"to": mailbox["email"], "subject": subject, "text": "x"},
        )
    path = f"/mailboxes/{mailbox['id']}/messages"
    wait_for("seven messages", lambda: tenant.data("GET", path)["total"] == 7)
    seen, before = [], None
    while True:
        query = {"limit": 3} | ({"before": before} if before else {})
        page = tenant.data("GET", path, None, **query)
        seen += [row["subject"] for row in page["messages"]]
        before = page["nextBefore"]
        if before is None:
            break
    assert sorted(seen) == subjects


def test_reading_marks_as_read_only_when_asked(tenant: Tenant, mailbox: Any) -> None:
    tenant.data(
        "POST",
        f"/mailboxes/{mailbox['id']}/send",
        {"to": mailbox["email"], "subject": "unread", "text": "x"},
    )
    uid = find(tenant, mailbox["email"], "unread")["uid"]
    path = f"/mailboxes/{mailbox['id']}/messages/{uid}"
    assert tenant.data("GET", path)["seen"] is False
    assert tenant.data("GET", path, None, markSeen=1)["seen"] is True
    assert tenant.data("GET", path)["flags"] == ["\\Seen"]


def test_a_refusal_of_the_mail_server_comes_in_its_own_words(tenant: Tenant, mailbox: Any) -> None:
    answer = tenant.call(
        "POST",
        f"/mailboxes/{mailbox['id']}/send",
        {"to": "nobody-here@acme-mail.net", "subject": "x", "text": "x"},
    )
    assert answer.status_code == 502
    assert answer.json()["error"]["code"] == "smtp_error"
    assert "550 5.1.1" in answer.json()["error"]["message"]


def test_a_domain_that_is_not_proven_is_neither_signed_nor_accepted(
    tenant: Tenant, machines: dict[str, Machine]
) -> None:
    name = "bring-your-own.net"
    tenant.data("POST", "/domains", {"name": name})
    domain = next(row for row in tenant.data("GET", "/domains") if row["name"] == name)
    try:
        tenant.data("POST", "/mailboxes", {"emails": [f"carol@{name}"]})
        detail = tenant.data("GET", f"/domains/{domain['id']}")
        assert {row["purpose"] for row in detail["records"]} >= {"mx", "spf", "dkim", "dmarc"}
        assert domain["status"] == "pending"
        for machine in machines.values():
            assert name not in machine.sh("cat /etc/postfix/tables/domains /etc/dovecot/users")
            assert name not in machine.sh("cat /etc/opendkim/signing_table")
    finally:
        deleted = tenant.data("DELETE", f"/domains/{domain['id']}")
    assert deleted == {"deletedMailboxes": 1}


def test_records_copied_by_hand_prove_a_domain(
    tenant: Tenant, lab: dict[str, Any], machines: dict[str, Machine]
) -> None:
    """A tenant copies what the API shows into a zone that no key of ours may update."""
    name = "bring-your-own.net"
    tenant.data("POST", "/domains", {"name": name})
    domain = next(row for row in tenant.data("GET", "/domains") if row["name"] == name)
    path = f"/domains/{domain['id']}"
    records = tenant.data("GET", path)["records"]
    try:
        copy_by_hand(lab, name, records)
        wait_for("all flags", lambda: all_ok(tenant.data("GET", path)))
        assert tenant.data("GET", path)["status"] == "verified"
        for machine in machines.values():
            wait_for(f"{name} on {machine.name}", partial(accepts, machine, name))
    finally:
        tenant.data("DELETE", path)
        copy_by_hand(lab, name, records, remove=True)
    for machine in machines.values():
        wait_for(f"{name} gone from {machine.name}", partial(refuses, machine, name))


def accepts(machine: Machine, domain: str) -> bool:
    return domain in machine.sh("cat /etc/postfix/tables/domains")


def refuses(machine: Machine, domain: str) -> bool:
    return not accepts(machine, domain)


def all_ok(domain: Any) -> bool:
    return all(domain[flag] for flag in ("spfOk", "dkimOk", "dmarcOk", "mxOk"))


def copy_by_hand(lab: dict[str, Any], zone: str, records: Any, *, remove: bool = False) -> None:
    secret = (ROOT / lab["dns"]["customer_tsig_secret_file"]).read_text().strip()
    key = dns.tsigkeyring.from_text({lab["dns"]["customer_tsig_name"]: secret})
    change = dns.update.UpdateMessage(zone, keyring=key, keyalgorithm=lab["dns"]["tsig_algorithm"])
    for row in records:
        text = row["value"]
        if row["type"] == "TXT":
            parts = [text[start : start + 255] for start in range(0, len(text), 255)]
            text = " ".join(f'"{part}"' for part in parts)
        elif row["type"] == "MX":
            text += "."
        owner = dns.name.from_text(row["name"])
        if remove:
            change.delete(owner, row["type"])
        else:
            change.add(owner, 60, row["type"], text)
    answer = dns.query.tcp(change, lab["dns"]["authoritative"], timeout=10)
    assert answer.rcode() == dns.rcode.NOERROR
