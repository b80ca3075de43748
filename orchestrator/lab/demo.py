"""The demonstration: a tenant's first minutes, through the API, to mail that others believe."""

import email
import email.policy
import email.utils
import re
import smtplib
import ssl
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from email.message import EmailMessage
from typing import Any, TypeVar

import httpx
from imapclient import IMAPClient

from orchestrator.lab import control_plane
from orchestrator.lab.errors import LabError
from orchestrator.lab.state import State
from orchestrator.lab.topology import Topology
from orchestrator.lab.up import INFO

T = TypeVar("T")

CONVERGE_SECONDS = 300.0
DELIVERY_SECONDS = 60.0
#: How long one request is made again where the API says that it may be.
PATIENCE_SECONDS = 120.0

#: ``from EHLO (PTR [IP])``, as Postfix writes it.
TRACE = re.compile(r"from (\S+) \((?:(\S+) )?\[(?:IPv6:)?([0-9a-fA-F.:]+)\]\)")


@dataclass(frozen=True)
class Proof:
    """What the independent receiver saw of one message, and that its answer came back."""

    host: str
    sender: str
    verdicts: str
    source_ip: str
    expected_ip: str
    ehlo: str
    ptr: str
    reply_uid: int

    @property
    def passed(self) -> bool:
        """Whether SPF, DKIM and DMARC pass, from the right address under the right name."""
        return (
            self.verdicts == "spf=pass dkim=pass dmarc=pass"
            and self.source_ip == self.expected_ip
            and self.ehlo == self.ptr
        )


class Tenant:
    """The API as one workspace sees it."""

    def __init__(self, url: str, token: str) -> None:
        self._client = httpx.Client(
            base_url=f"{url}/api/v1", headers={"Authorization": f"Bearer {token}"}, timeout=60
        )

    def close(self) -> None:
        """Close the connection."""
        self._client.close()

    def call(self, method: str, path: str, body: object = None, **query: Any) -> Any:
        """Give the answer's ``data``; wait where the API says so, as any client has to.

        :raises LabError: with the API's own words when it refuses.
        """
        # A database is away for a moment when the disk is busy; asking again changes nothing.
        passing = {429, 503} if method == "GET" else {429}
        deadline = time.monotonic() + PATIENCE_SECONDS
        answer = self._client.request(method, path, json=body, params=query)
        while answer.status_code in passing and time.monotonic() < deadline:
            time.sleep(int(answer.headers.get("Retry-After", "1")))
            answer = self._client.request(method, path, json=body, params=query)
        if answer.status_code != 200:
            raise LabError(f"{method} {path} answered {answer.status_code}: {answer.text}")
        return answer.json()["data"]


class World:
    """The mailbox on the other side."""

    def __init__(self, described: dict[str, Any], ca_file: str) -> None:
        self._it = described
        self._tls = ssl.create_default_context(cafile=ca_file)

    def find(self, message_id: str) -> EmailMessage | None:
        """Look for a message by its Message-ID."""
        with IMAPClient(self._it["address"], ssl_context=self._tls) as client:
            client.login(self._it["mailbox"], self._it["password"])
            client.select_folder("INBOX", readonly=True)
            found = client.search(["HEADER", "Message-ID", message_id])
            if not found:
                return None
            raw = client.fetch(found, ["BODY.PEEK[]"])[found[0]][b"BODY[]"]
        parsed = email.message_from_bytes(raw, policy=email.policy.default)
        assert isinstance(parsed, EmailMessage)
        return parsed

    def reply(self, original: EmailMessage) -> str:
        """Answer a message, as its receiver would; gives the answer's Message-ID."""
        answer = EmailMessage()
        answer["From"] = self._it["mailbox"]
        answer["To"] = original["From"]
        answer["Subject"] = f"Re: {original['Subject']}"
        answer["In-Reply-To"] = original["Message-ID"]
        answer["Message-ID"] = f"<{uuid.uuid4()}@{self._it['domain']}>"
        answer["Date"] = email.utils.localtime()
        answer.set_content("Thank you, it arrived.\n")
        with smtplib.SMTP(self._it["address"], 587, timeout=20) as client:
            client.starttls(context=self._tls)
            client.login(self._it["mailbox"], self._it["password"])
            client.send_message(answer)
        return str(answer["Message-ID"])


def wait_for(
    what: str,
    seconds: float,
    look: Callable[[], T | None],
    check: Callable[[], None] = lambda: None,
) -> T:
    """Look until there is something; ``check`` may raise to end the wait early.

    :raises LabError: when there is nothing after so many seconds.
    """
    deadline = time.monotonic() + seconds
    while True:
        seen = look()
        if seen is not None:
            return seen
        check()
        if time.monotonic() > deadline:
            raise LabError(f"{what} did not come about within {seconds:g} s")
        time.sleep(0.5)


def run(
    state: State, topology: Topology, url: str, token: str, note: Callable[[str], None]
) -> list[Proof]:
    """Ask for a domain and a mailbox on each host, send from each, and read the answers.

    :param note: told what is being waited for.
    :raises LabError: when something does not come about in time, or the API refuses.
    """
    described = state.read_json(INFO)
    world = World(described["world"], str(state.path("ca.pem")))
    tenant = Tenant(url, token)
    try:
        boxes = _mailboxes(tenant, topology, note, lambda: control_plane.check(state))
        seconds = topology.seconds(DELIVERY_SECONDS)
        return [_prove(tenant, world, box, described, note, seconds=seconds) for box in boxes]
    finally:
        tenant.close()


def _mailboxes(
    tenant: Tenant, topology: Topology, note: Callable[[str], None], alive: Callable[[], None]
) -> list[Any]:
    domain = topology.demo.domain
    if domain not in {row["name"] for row in tenant.call("GET", "/domains")}:
        tenant.call("POST", "/domains", {"name": domain})
    seconds = topology.seconds(CONVERGE_SECONDS)
    wanted = [f"{name}@{domain}" for name in topology.demo.mailboxes.values()]
    existing = {row["email"] for row in tenant.call("GET", "/mailboxes")}
    missing = [email for email in wanted if email not in existing]
    if missing:
        tenant.call("POST", "/mailboxes", {"emails": missing})
    note("waiting for both hosts to converge")

    def active() -> list[Any] | None:
        rows = [row for row in tenant.call("GET", "/mailboxes") if row["email"] in wanted]
        return rows if all(row["status"] == "active" for row in rows) else None

    boxes = wait_for("active mailboxes on both hosts", seconds, active, alive)
    note(f"waiting for {domain} to be seen in DNS")

    def seen() -> bool | None:
        row = next(row for row in tenant.call("GET", "/domains") if row["name"] == domain)
        return all(row[flag] for flag in ("spfOk", "dkimOk", "dmarcOk", "mxOk")) or None

    wait_for(f"all records of {domain}", seconds, seen, alive)
    return boxes


def _prove(
    tenant: Tenant,
    world: World,
    box: Any,
    described: Any,
    note: Callable[[str], None],
    *,
    seconds: float,
) -> Proof:
    note(f"sending from {box['email']} and waiting for the answer")
    sent = tenant.call(
        "POST",
        f"/mailboxes/{box['id']}/send",
        {
            "to": described["world"]["mailbox"],
            "subject": f"A first message of {box['email']}",
            "text": "Hello from my own IP.\n",
        },
    )
    arrived = wait_for(
        f"the message of {box['email']}", seconds, lambda: world.find(sent["messageId"])
    )
    answer_id = world.reply(arrived)

    def answered() -> int | None:
        page = tenant.call("GET", f"/mailboxes/{box['id']}/messages")
        return next((m["uid"] for m in page["messages"] if m["messageId"] == answer_id), None)

    uid = wait_for(f"the answer to {box['email']}", seconds, answered)
    detail = tenant.call("GET", f"/mailboxes/{box['id']}/messages/{uid}")
    if "it arrived" not in detail["text"]:
        raise LabError(f"the answer to {box['email']} came back changed: {detail['text']!r}")
    return _read(arrived, box, described, uid)


def _read(arrived: EmailMessage, box: Any, described: Any, uid: int) -> Proof:
    # The topmost trace header of an SMTP session is the receiver's own (RFC 5321, 4.4); its
    # delivery to the mailbox has put one of LMTP above it.
    traces = [" ".join(str(trace).split()) for trace in arrived.get_all("Received", [])]
    found = (TRACE.match(trace) for trace in traces)
    seen = next((match for match in found if match), None)
    if seen is None:
        raise LabError(f"the receiver's trace headers are not understood: {traces}")
    results = " ".join(str(value) for value in arrived.get_all("Authentication-Results", []))
    verdicts = [
        f"{name}={verdict.group(1)}"
        for name in ("spf", "dkim", "dmarc")
        if (verdict := re.search(rf"\b{name}=(\w+)", results))
    ]
    ip = box["smtpHost"]
    host = next(row["name"] for row in described["hosts"] if ip in row["dedicated_ips"])
    return Proof(
        host=host,
        sender=box["email"],
        verdicts=" ".join(verdicts),
        source_ip=seen.group(3),
        expected_ip=ip,
        ehlo=seen.group(1),
        ptr=seen.group(2) or "",
        reply_uid=uid,
    )
