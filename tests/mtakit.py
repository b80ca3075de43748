"""A cluster on the lab, as the tenant's program and its applications see it."""

import re
import smtplib
import ssl
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from email import policy
from email.message import EmailMessage
from typing import Any

import httpx
from labkit import Machine, wait_for
from sqlalchemy import Engine
from storekit import QUICK

from orchestrator import db
from orchestrator.services import clusters, keys, users, workspaces

#: What the demonstration workspace's cluster sends as in tests; its zone is ours to write.
DOMAIN = "news.acme-mail.net"
SECOND = "shop.acme-mail.net"


@dataclass(frozen=True)
class Client:
    """A program of the tenant's, with a user's token."""

    http: httpx.Client
    cluster: str

    def call(self, method: str, path: str = "", body: object = None) -> httpx.Response:
        """A request below the cluster."""
        return self.http.request(method, f"/api/v1/clusters/{self.cluster}{path}", json=body)

    def row(self) -> Any:
        """The cluster as it is listed."""
        rows = self.http.get("/api/v1/clusters").raise_for_status().json()["data"]
        return next(row for row in rows if row["id"] == self.cluster)

    def data(self, method: str, path: str = "", body: object = None) -> Any:
        """A request that must succeed; gives its `data`."""
        answer = self.call(method, path, body)
        assert answer.is_success, answer.text
        return answer.json()["data"]

    def clear(self) -> None:
        """Delete its credentials and domains."""
        for row in self.data("GET", "/credentials"):
            self.gone(f"/credentials/{row['user']}")
        for row in self.data("GET", "/domains"):
            self.gone(f"/domains/{row['name']}")

    def gone(self, path: str) -> None:
        """Delete what is at the path."""
        assert self.call("DELETE", path).status_code == 204

    def domain(self, name: str = DOMAIN) -> Any:
        """Add a domain and wait until it is verified."""
        path = f"/domains/{name}"
        if self.call("GET", path).status_code == 404:
            self.data("POST", "/domains", {"name": name})
        wait_for(name, lambda: self.data("GET", path)["status"] == "verified")
        return self.data("GET", path)

    def credential(self, **restrictions: object) -> "Login":
        """A new credential; without a word it is good for all domains."""
        user = f"app-{uuid.uuid4().hex[:10]}"
        wanted = restrictions or {"allow_all_domains": True}
        answer = self.call("POST", "/credentials", {"user": user, **wanted})
        assert answer.status_code == 201, answer.text
        return Login(user, answer.json()["password"])


@dataclass(frozen=True)
class Login:
    """A credential as an application has it."""

    user: str
    password: str

    def connect(self, server: str, tls: ssl.SSLContext) -> smtplib.SMTP:
        """A session of its own at one of an MTA's dedicated addresses, logged in."""
        client = smtplib.SMTP(server, 587, timeout=20)
        try:
            client.starttls(context=tls)
            client.login(self.user, self.password)
        except BaseException:
            client.close()
            raise
        return client


@dataclass(frozen=True)
class Mta:
    """A host of the cluster, as applications and receivers see it."""

    machine: Machine
    at: str
    at6: str
    tls: ssl.SSLContext
    #: Somebody elsewhere.
    walter: str

    @property
    def addresses(self) -> list[str]:
        return list(self.machine.described["dedicated_ips"][:2])


def submit(
    client: smtplib.SMTP, sender: str, to: str, *, envelope: str = "", message_id: str = ""
) -> str:
    """Send a message; gives its queue id.

    :raises smtplib.SMTPDataError: when it is refused.
    """
    made = EmailMessage()
    made["From"], made["To"], made["Subject"] = sender, to, "x"
    made["Message-ID"] = message_id or f"<{uuid.uuid4().hex}@{DOMAIN}>"
    made.set_content("x")
    client.ehlo_or_helo_if_needed()
    client.mail(envelope or sender)
    client.rcpt(to)
    code, said = client.data(made.as_bytes(policy=policy.SMTP))
    if code != 250:
        raise smtplib.SMTPDataError(code, said)
    return said.decode().rpartition(" ")[2]


def known(machine: Machine, login: Login) -> None:
    """Wait until the host knows the credential, as a client that tries again would."""
    grep = f"grep -q '^{login.user}:' /etc/dovecot/credentials"
    wait_for(login.user, lambda: machine.run("sh", "-c", grep).returncode == 0, every=0.05)
    # Dovecot looks at the file once in a second.
    time.sleep(1.1)


def log(machine: Machine, since: float, pattern: str) -> list[tuple[float, str]]:
    """Lines of the host's mail system that hold the text, with their times (seconds since 1970)."""
    text = machine.sh(f"journalctl -o short-unix --no-pager --since=@{int(since)}")
    rows = [line.partition(" ") for line in text.splitlines() if pattern in line]
    return [(float(at), said) for at, _, said in rows]


def sent(machine: Machine, since: float) -> dict[str, tuple[float, str]]:
    """When each message left, and by which transport, by its queue id."""
    found = {}
    for at, said in log(machine, since, "status=sent"):
        match = re.search(r"postfix/(out-[0-9a-f-]+)/smtp\[\d+\]: (\w+): ", said)
        if match:
            found[match[2]] = (at, match[1])
    return found


@contextmanager
def cluster_of(lab: dict[str, Any], engine: Engine) -> Iterator[Client]:
    """The demonstration workspace's cluster, by the API; what the block leaves there is removed."""
    email = "tests@acme-mail.net"
    with db.writing(engine) as session:
        owner = workspaces.get_by_slug(session, "acme")
        known = [row for row in users.list_(session, owner) if row.email == email]
        user = known or [users.add(session, owner, email=email, name="T", password_hash="none")]
        token = keys.create_for(session, user[0], rates=QUICK)[1]
        slug = clusters.list_(session, owner)[0].slug
    bearer = {"Authorization": f"Bearer {token}"}
    with httpx.Client(base_url=lab["api"], headers=bearer, timeout=60) as http:
        client = Client(http, slug)
        # What a test leaves behind must not keep the next ones waiting, one by one.
        assert len(client.data("GET", "/mtas")) == len(lab["hosts"])
        yield client
        client.clear()
