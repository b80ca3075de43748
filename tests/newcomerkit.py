"""A newcomer's two machines, and what the pages say to type there."""

import imaplib
import smtplib
import ssl
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import docskit
from baremetalkit import Bare
from labkit import ROOT

FLEET, TENANT = "newcomer-fleet.net", "newcomer-mail.net"
CONTROL, HOST, FIRST, LAST = 90, 91, 92, 93
#: What stands in the examples, and what it is here; longer ones first.
PLACES = {
    "203.0.113.11-203.0.113.18": f"198.51.100.{FIRST}-198.51.100.{LAST}",
    "113.0.203.in-addr.arpa": "100.51.198.in-addr.arpa",
    "out-203-0-113-11": f"ip-198-51-100-{FIRST}",
    "203.0.113.10": f"198.51.100.{HOST}",
    "203.0.113.11": f"198.51.100.{FIRST}",
    "203.0.113.1 from": "198.51.100.80 from",
    "203.0.113.53": "198.51.100.52",
    "--tsig-name fleet": "--tsig-name mailfleet-lab",
    "somebody@example.org": "walter@worldpost.org",
    "ns1.acme.com": "198.51.100.52",
    "fleet.net": FLEET,
    "acme.com": TENANT,
}


def sections(page: str) -> dict[str, list[str]]:
    """The ``console`` blocks under each heading of a page, as a newcomer to the lab types them."""
    found = {}
    for title, text in docskit.sections(ROOT / "docs" / page).items():
        scripts = [docskit.typed(block) for block in docskit.fenced(text, "console")]
        for example, ours in PLACES.items():
            scripts = [script.replace(example, ours) for script in scripts]
        found[title] = scripts
    return found


SECTIONS = sections("production.md")


@dataclass
class Newcomer:
    """The two machines, and a mail client that never stops while it is asked to."""

    control: Bare
    host: Bare
    ca: Path
    failures: list[str] = field(default_factory=list)
    looks: int = 0

    def follow(self, title: str) -> str:
        """Do what a section says; gives what the commands printed."""
        assert SECTIONS[title], f"no commands under {title}"
        return "".join(self.control.ok(script) for script in SECTIONS[title])


class Client:
    """Logs in over IMAP and submits, again and again, at the host of the tenant's mailbox."""

    def __init__(self, newcomer: Newcomer) -> None:
        self._newcomer = newcomer
        self._email = f"alice@{TENANT}"
        command = f"mailfleet mailboxes password {self._email} --workspace acme"
        self._password = newcomer.control.ok(command).strip()
        self._tls = ssl.create_default_context(cafile=newcomer.ca)
        self._tls.check_hostname = False
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> None:
        time.sleep(3)  # a new password is known everywhere by then
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._done.wait(0.5):
            try:
                self._look()
            except (OSError, imaplib.IMAP4.error, smtplib.SMTPException) as error:
                self._newcomer.failures.append(f"{time.ctime()}: {error}")
            self._newcomer.looks += 1

    def _look(self) -> None:
        address = f"198.51.100.{FIRST}"
        with imaplib.IMAP4_SSL(address, ssl_context=self._tls, timeout=10) as imap:
            imap.login(self._email, self._password)
        with smtplib.SMTP(address, 587, timeout=10) as smtp:
            smtp.starttls(context=self._tls)
            smtp.login(self._email, self._password)
            text = f"From: {self._email}\r\nSubject: still here\r\n\r\nYes.\r\n"
            smtp.sendmail(self._email, ["walter@worldpost.org"], text)
