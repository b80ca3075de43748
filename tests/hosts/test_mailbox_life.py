"""What becomes of a mailbox, as its owner sees it on each Debian: logins, sessions, mail."""

import contextlib
import email
import email.policy
import imaplib
import smtplib
import ssl
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from imapclient import IMAPClient
from imapclient.exceptions import IMAPClientError
from labkit import Machine, Operator, Tenant, wait_for

from orchestrator.hosts.bundle import SCRIPT

pytestmark = pytest.mark.lab

DOMAIN = "acme-mail.net"


@dataclass
class Box:
    """A mailbox of the test's own, on the host in question."""

    tenant: Tenant
    machine: Machine
    lab: dict[str, Any]
    row: dict[str, Any]
    secret: str

    @property
    def email(self) -> str:
        return str(self.row["email"])

    @property
    def home(self) -> str:
        return self.tenant.home(self.email)

    @property
    def tls(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=self.lab["ca"])

    def path(self, more: str = "") -> str:
        return f"/mailboxes/{self.row['id']}{more}"

    def imap(self, secret: str | None = None) -> IMAPClient:
        client = IMAPClient(self.row["imapHost"], ssl_context=self.tls, timeout=20)
        try:
            client.login(self.email, secret or self.secret)
        except BaseException:
            client.shutdown()
            raise
        return client

    def smtp(self) -> smtplib.SMTP:
        client = smtplib.SMTP(self.row["smtpHost"], 587, timeout=20)
        try:
            client.starttls(context=self.tls)
            client.login(self.email, self.secret)
        except BaseException:
            client.close()
            raise
        return client

    def active(self) -> None:
        wait_for("active", lambda: self.tenant.data("GET", self.path())["status"] == "active")

    def applied(self, operator: Operator) -> None:
        operator.ok("reconcile", "apply", "--host", self.machine.name, "--yes")

    def subjects(self) -> list[str]:
        rows = self.tenant.data("GET", self.path("/messages"))["messages"]
        return [str(row["subject"]) for row in rows]


def make(tenant: Tenant, operator: Operator, name: str) -> dict[str, Any]:
    tenant.data("POST", "/mailboxes", {"emails": [name]})
    return dict(tenant.mailbox(name))


@pytest.fixture
def box(
    lab: dict[str, Any], tenant: Tenant, operator: Operator, machine: Machine, server: str
) -> Iterator[Box]:
    """It is made until it is on the host: the least used address is taken."""
    made: list[dict[str, Any]] = []
    while not made or made[-1]["smtpHost"] != server:
        assert len(made) < 10
        made.append(make(tenant, operator, f"life{uuid.uuid4().hex[:8]}@{DOMAIN}"))
    row = made[-1]
    for other in made[:-1]:
        tenant.data("DELETE", f"/mailboxes/{other['id']}")
    secret = operator.ok("mailfleet", "mailboxes", "password", row["email"], "--workspace", "acme")
    box = Box(tenant, machine, lab, row, secret)
    box.active()
    yield box
    tenant.call("DELETE", box.path(), mail="purge")


@contextlib.contextmanager
def idling(box: Box) -> Iterator[IMAPClient]:
    client = box.imap()
    client.select_folder("INBOX")
    client.idle()
    yield client
    with contextlib.suppress(OSError):
        client.shutdown()


def ended(client: IMAPClient) -> bool:
    """Whether the server has said goodbye to a session that waits for news."""
    try:
        return any(item[0] == b"BYE" for item in client.idle_check(timeout=0.2))
    except (OSError, imaplib.IMAP4.abort):
        return True


def submit(client: smtplib.SMTP, sender: str, to: str, subject: str = "x") -> str:
    message_id = f"<{uuid.uuid4().hex}@{DOMAIN}>"
    text = f"From: {sender}\r\nTo: {to}\r\nSubject: {subject}\r\nMessage-ID: {message_id}\r\n\r\nx"
    client.sendmail(sender, [to], text)
    return message_id


def deliver(address: str, to: str, subject: str) -> None:
    """As a stranger does to an MX."""
    text = f"From: walter@worldpost.org\r\nSubject: {subject}\r\n\r\nx\r\n"
    with smtplib.SMTP(address, 25, timeout=20) as client:
        client.ehlo("world.worldpost.org")
        client.sendmail("walter@worldpost.org", [to], text)


def refused(client: smtplib.SMTP, box: Box) -> None:
    with pytest.raises(smtplib.SMTPDataError) as told:
        submit(client, box.email, box.email)
    assert told.value.smtp_code == 451
    client.close()


def test_a_folder_that_its_owner_deletes_is_gone(box: Box) -> None:
    """The API's own session has it open, here as long as it is kept."""
    folder = "Entwürfe 1"

    def listed() -> Any:
        return box.tenant.call("GET", box.path("/messages"), folder=folder)

    with box.imap() as client:
        for subject in (b"first", b"second"):
            client.create_folder(folder)
            client.append(folder, b"Subject: %s\r\n\r\nx\r\n" % subject)
            for _ in range(2):
                (row,) = listed().json()["data"]["messages"]
                assert row["subject"] == subject.decode()
            client.delete_folder(folder)
            answer = listed()
            assert (answer.status_code, answer.json()["error"]["code"]) == (404, "not_found")


def test_a_new_password_ends_the_old_one_and_its_sessions(box: Box) -> None:
    smtp = box.smtp()
    submit(smtp, box.email, box.email)
    with idling(box) as client:
        told = box.tenant.data("POST", box.path("/password"), {})
        wait_for("the end of the session", lambda: ended(client))
    assert (told["email"], len(told["password"])) == (box.email, 32)
    box.active()
    refused(smtp, box)
    with pytest.raises(IMAPClientError):
        box.imap()
    with pytest.raises(smtplib.SMTPAuthenticationError):
        box.smtp()
    box.secret = "correct horse: 100% 'battery' \\ staple"
    box.tenant.data("POST", box.path("/password"), {"password": box.secret})
    box.active()
    box.imap().logout()
    with box.smtp() as again:
        submit(again, box.email, box.email)
    assert "password" not in box.tenant.data("GET", box.path())


def test_who_is_suspended_gets_mail_but_no_login(box: Box) -> None:
    smtp = box.smtp()
    with idling(box) as client:
        row = box.tenant.data("POST", box.path("/suspend"))
        assert row["status"] == "suspended"
        wait_for("the end of the session", lambda: ended(client))

    def login_fails() -> bool:
        try:
            box.imap().logout()
        except IMAPClientError:
            return True
        return False

    wait_for("a refused login", login_fails, every=1.1)
    refused(smtp, box)
    body = {"to": box.email, "subject": "never", "text": "x"}
    for answer in (
        box.tenant.call("POST", box.path("/send"), body),
        box.tenant.call("GET", box.path("/messages")),
        box.tenant.call("POST", box.path("/suspend")),
    ):
        assert (answer.status_code, answer.json()["error"]["code"]) == (409, "conflict")
    for host in box.lab["hosts"]:
        deliver(host["address"], box.email, f"kept by {host['name']}")
    box.tenant.data("POST", box.path("/resume"))
    box.active()
    wait_for("its mail", lambda: sorted(box.subjects()) == ["kept by mx1", "kept by mx2"])


def test_an_operator_suspends_and_resumes(box: Box, operator: Operator) -> None:
    for command, status in (("suspend", {"suspended"}), ("resume", {"provisioning", "active"})):
        told = operator.ok("mailfleet", "mailboxes", command, box.email, "--workspace", "acme")
        assert box.email in told
        assert box.tenant.data("GET", box.path())["status"] in status


def test_a_session_of_a_former_password_ends_after_a_crash_too(
    box: Box, operator: Operator
) -> None:
    # As a push leaves a host that died after its new password file was in force.
    with idling(box) as client:
        box.machine.sh(
            f"sed -i 's/^{box.email}:[^:]*:/{box.email}:former:/' /var/lib/mailfleet/logins"
            " && : >/var/lib/mailfleet/applied/sessions"
        )
        box.applied(operator)
        assert ended(client)
    box.imap().logout()
    # Whose password is the same is left alone.
    with idling(box) as client:
        box.machine.sh(": >/var/lib/mailfleet/applied/sessions")
        box.applied(operator)
        assert not ended(client)


def test_others_keep_their_sessions(box: Box, tenant: Tenant, operator: Operator) -> None:
    smtp = box.smtp()
    with idling(box) as client:
        other = make(tenant, operator, f"life{uuid.uuid4().hex[:8]}@{DOMAIN}")
        for path in ("/password", "/suspend", "/resume"):
            body: dict[str, str] | None = {} if path == "/password" else None
            tenant.data("POST", f"/mailboxes/{other['id']}{path}", body)
            box.applied(operator)
        tenant.data("DELETE", f"/mailboxes/{other['id']}")
        box.applied(operator)
        assert not ended(client)
    submit(smtp, box.email, box.email)
    smtp.quit()


def test_a_quota_is_changed_and_told(box: Box) -> None:
    changed = box.tenant.data("PATCH", box.path(), {"quotaMib": 2})
    assert changed == {"id": box.row["id"], "email": box.email, "quotaMib": 2}

    def told() -> Any:
        return box.tenant.data("GET", box.path("/quota"))

    wait_for("the new limit", lambda: told()["limitKib"] == 2048)
    with box.imap() as client:
        client.append("INBOX", b"Subject: large\r\n\r\n" + b"x" * 1_500_000)
        with pytest.raises(IMAPClientError, match="OVERQUOTA"):
            client.append("INBOX", b"Subject: large\r\n\r\n" + b"x" * 1_500_000)
    assert 1_400 < told()["usedKib"] < 1_600


def test_an_alias_receives_and_sends(box: Box, lab: dict[str, Any], operator: Operator) -> None:
    alias = f"alias{uuid.uuid4().hex[:8]}@{DOMAIN}"
    with box.smtp() as client, pytest.raises(smtplib.SMTPRecipientsRefused):
        submit(client, alias, box.email)
    box.tenant.data("POST", box.path("/aliases"), {"email": alias})
    for host in lab["hosts"]:
        operator.ok("reconcile", "apply", "--host", host["name"], "--yes")
        deliver(host["address"], alias, f"by {host['name']}")
        deliver(host["address"], alias.replace("@", "+tag@"), f"tagged by {host['name']}")
    expected = ["by mx1", "by mx2", "tagged by mx1", "tagged by mx2"]
    wait_for("mail to the alias", lambda: sorted(box.subjects()) == expected)
    with box.smtp() as client:
        message_id = submit(client, alias, lab["world"]["mailbox"], "from the alias")
    verdicts = wait_for("it in the world", lambda: seen_by_the_world(lab, message_id))
    assert "dkim=pass" in verdicts
    assert "spf=pass" in verdicts
    assert "dmarc=pass" in verdicts
    box.tenant.data("DELETE", box.path(f"/aliases/{alias}"))
    box.applied(operator)
    with pytest.raises(smtplib.SMTPRecipientsRefused) as told:
        deliver(box.machine.described["address"], alias, "never")
    assert told.value.recipients[alias][0] == 550


def seen_by_the_world(lab: dict[str, Any], message_id: str) -> str | None:
    tls = ssl.create_default_context(cafile=lab["ca"])
    with IMAPClient(lab["world"]["address"], ssl_context=tls) as client:
        client.login(lab["world"]["mailbox"], lab["world"]["password"])
        client.select_folder("INBOX", readonly=True)
        found = client.search(["HEADER", "Message-ID", message_id])
        if not found:
            return None
        raw = client.fetch(found, ["BODY.PEEK[]"])[found[0]][b"BODY[]"]
    arrived = email.message_from_bytes(raw, policy=email.policy.default)
    return " ".join(str(value) for value in arrived.get_all("Authentication-Results", []))


def test_a_deleted_mailbox_keeps_its_mail_unless_told(box: Box, operator: Operator) -> None:
    deliver(box.machine.described["address"], box.email, "stays")
    wait_for("its mail", lambda: box.subjects() == ["stays"])
    smtp = box.smtp()
    with idling(box) as client:
        box.tenant.data("DELETE", box.path())
        wait_for("the end of the session", lambda: ended(client))
    box.applied(operator)
    refused(smtp, box)
    assert box.machine.run("test", "-d", box.home).returncode == 0


def test_a_purge_leaves_nothing(box: Box, operator: Operator) -> None:
    deliver(box.machine.described["address"], box.email, "goes")
    wait_for("its mail", lambda: box.subjects() == ["goes"])
    trash, name = "/var/vmail/.mailfleet-trash", box.machine.name
    # What a crash left goes with the next push.
    box.machine.sh(f"mkdir -p {trash}/1.1")
    operator.ok("mailfleet", "hosts", "pause", name)
    try:
        box.tenant.data("DELETE", box.path(), mail="purge")
        answer = box.tenant.call("POST", "/mailboxes", {"emails": [box.email]})
        assert answer.status_code == 409
        assert "still being removed" in answer.json()["error"]["message"]
    finally:
        operator.ok("mailfleet", "hosts", "resume", name)
    test = f"test ! -e {box.home} -a ! -e {trash}"
    wait_for("no mail", lambda: box.machine.run("sh", "-c", test).returncode == 0)

    def again() -> bool:
        return box.tenant.call("POST", "/mailboxes", {"emails": [box.email]}).status_code == 200

    wait_for("the end of the purge", again, 120)
    box.row = box.tenant.mailbox(box.email)
    box.active()
    assert box.subjects() == []


def test_a_purge_spares_a_mailbox_that_lives(box: Box, operator: Operator) -> None:
    """The host's own look at its password file, whatever the control plane believes."""
    script = (
        "d=$(mktemp -d /var/lib/mailfleet/stage.XXXXXX); mkdir $d/files $d/digests; "
        "echo $(($(cat /var/lib/mailfleet/generation) + 1)) >$d/generation; "
        ": >$d/manifest; : >$d/delete; : >$d/validate; : >$d/reload; : >$d/smoke; "
        f"printf '%s\\t%s\\n' {box.email} {box.home} >$d/purges; cat >$d/apply; bash $d/apply $d"
    )
    deliver(box.machine.described["address"], box.email, "stays")
    wait_for("its mail", lambda: box.subjects() == ["stays"])

    def taken() -> bool:
        # A push of the reconciler's in between takes the generation away.
        done = box.machine.run("sh", "-ceu", script, stdin=SCRIPT.encode())
        assert b"done" in done.stdout or b"Fenced" in done.stdout, done
        return b"done" in done.stdout

    wait_for("the host to take it", taken)
    assert box.subjects() == ["stays"]
