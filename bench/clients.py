"""A tenant of the lab: the API, mail programs, and eyes on the hosts."""

import imaplib
import smtplib
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
from sqlalchemy import Engine
from sqlmodel import select

from bench import lab
from orchestrator import db, settings
from orchestrator.fleet import Fleet
from orchestrator.hosts.ssh import SshTarget
from orchestrator.models import Bucket, Host
from orchestrator.secrets import Vault
from orchestrator.services import keys, workspaces

#: Ends once the password file has, or no longer has, a text. It hardly uses the processor.
AWAIT = r"""
my ($wanted, $text) = split / /, <STDIN>, 2; chomp $text; my $end = time + 20;
while (time < $end) {
  open my $users, "<", "/etc/dovecot/users" or die; local $/; my $all = <$users>;
  exit 0 if (index($all, $text) >= 0) == ($wanted eq "there");
  select undef, undef, undef, 0.003;
}
exit 1
"""


@dataclass
class Tenant:
    """One workspace; ``taken`` is milliseconds by kind of change."""

    api: httpx.Client
    engine: Engine
    vault: Vault
    fleet: Fleet
    domain: str
    #: A dedicated IP of each host, by its hostname.
    servers: dict[str, str]
    targets: dict[str, SshTarget]
    tls: ssl.SSLContext
    taken: dict[str, list[float]] = field(
        default_factory=lambda: {"new mailbox": [], "new password": [], "deletion": []}
    )

    def call(self, method: str, path: str, body: object = None) -> Any:
        """Call the API; it must succeed."""
        answer = self.api.request(method, path, json=body)
        answer.raise_for_status()
        return answer.json()["data"]

    def await_line(self, host: str, wanted: str, text: str) -> None:
        """Wait until the host's password file is as wanted.

        :raises SystemExit: after 20 seconds.
        """
        command = f"exec perl -e '{AWAIT}'"
        done = self.fleet.pool.run(self.targets[host], command, f"{wanted} {text}\n".encode())
        if done.status != 0:
            raise SystemExit(f"{host}: a mailbox is not {wanted} after 20 s: {done.stderr}")


class Door:
    """Connections to a host, on which nobody has logged in yet."""

    def __init__(self, server: str, tls: ssl.SSLContext) -> None:
        self._imap = imaplib.IMAP4_SSL(server, 993, ssl_context=tls, timeout=60)
        self._smtp = smtplib.SMTP_SSL(server, 465, context=tls, timeout=60)
        self._smtp.ehlo()

    def imap(self, email: str, password: str) -> bool:
        """Whether IMAP LOGIN succeeds; who is refused hangs up."""
        try:
            self._imap.login(email, password)
        except imaplib.IMAP4.error:
            self._imap.shutdown()
            return False
        return True

    def smtp(self, email: str, password: str) -> bool:
        """Whether SMTP AUTH succeeds; who is refused hangs up."""
        try:
            self._smtp.login(email, password)
        except smtplib.SMTPAuthenticationError:
            self._smtp.close()
            return False
        return True

    def close(self) -> None:
        """Hang up."""
        self._imap.shutdown()
        self._smtp.close()


@contextmanager
def opened() -> Iterator[Tenant]:
    """The demonstration workspace, on the lab's own API."""
    described = lab.describe()
    loaded = settings.load(lab.CONFIG, {})
    engine, vault = db.connect(loaded.database_url), Vault(loaded.master_key_file)
    fleet = Fleet(loaded, vault)
    with db.reading(engine) as session:
        targets = {host.hostname: fleet.target(host) for host in session.exec(select(Host))}
    # A key of our own: the demonstration's is as slow as a tenant's.
    rates = dict.fromkeys(Bucket, "100000/10000")
    with db.writing(engine) as session:
        owner = workspaces.get_by_slug(session, "acme")
        key, token = keys.create(session, owner, "bench", rates=rates)
    headers = {"Authorization": f"Bearer {token}"}
    with httpx.Client(base_url=f"{described['api']}/api/v1", headers=headers, timeout=60) as api:
        domain = api.get("/domains").raise_for_status().json()["data"][0]["name"]
        servers = {row["hostname"]: row["dedicated_ips"][0] for row in described["hosts"]}
        tls = ssl.create_default_context(cafile=str(loaded.ca_file))
        yield Tenant(api, engine, vault, fleet, domain, servers, targets, tls)
    with db.writing(engine) as session:
        keys.revoke(session, owner, key.id)
    fleet.close()
    engine.dispose()
