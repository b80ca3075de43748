"""A client of both hosts that never stops: logs in, submits, and checks what arrives.

A process of its own, so that nothing the tests do slows it. Reads its orders as JSON from
stdin and works until that closes; writes an observation a line. A tenant's client tries again
once, and so does this one: an observation that failed is followed at once by another.
"""

import imaplib
import json
import smtplib
import ssl
import sys
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import dkim
import dns.resolver
from aiosmtpd.controller import Controller

#: Seconds that one look may take, and between two.
PATIENCE = 10.0
PAUSE = 0.3
RETRY = 0.2
#: Seconds for the last messages to arrive before the receiver goes: a host that finds it gone
#: takes it for dead, and keeps what comes next for minutes.
FAREWELL = 15.0


@dataclass(frozen=True)
class Account:
    """A mailbox, and the address of the host that it lives on."""

    host: str
    address: str
    email: str
    password: str


class Notebook:
    """Where observations go, from several threads."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("w", buffering=1)
        self._lock = threading.Lock()
        self._succeeded: dict[str, set[str]] = {"submission": set(), "signing": set()}

    def write(self, **observation: Any) -> None:
        with self._lock:
            self._file.write(json.dumps(observation) + "\n")
            if observation["ok"] and observation["check"] in self._succeeded:
                self._succeeded[observation["check"]].add(observation["id"])

    def all_arrived(self) -> bool:
        """Whether every message that was accepted has come."""
        with self._lock:
            return self._succeeded["submission"] <= self._succeeded["signing"]


class Sink:
    """Takes every message and checks its signature; ``handle_DATA`` is aiosmtpd's hook."""

    def __init__(self, notebook: Notebook, resolver: str) -> None:
        self._notebook = notebook
        self._keys: dict[bytes, bytes] = {}
        self._resolver = dns.resolver.Resolver(configure=False)
        self._resolver.nameservers = [resolver]

    async def handle_DATA(self, _server: Any, _session: Any, envelope: Any) -> str:  # noqa: N802
        host, ident = envelope.rcpt_tos[0].split("@")[0].removeprefix("witness-").split("-")
        error = self._refusal(envelope.original_content, envelope.mail_from.split("@")[1])
        self._notebook.write(
            check="signing", host=host, at=time.monotonic(), ok=not error, error=error, id=ident
        )
        return "250 2.0.0 Ok"

    def _refusal(self, raw: bytes, domain: str) -> str:
        signature = dkim.DKIM(raw)
        try:
            if not signature.verify(dnsfunc=self._key):
                return "the signature is not valid"
        except dkim.DKIMException as error:
            return f"{type(error).__name__}: {error}"
        signer = (signature.domain or b"").decode()
        return "" if signer == domain else f"signed by {signer or 'nobody'}"

    def _key(self, name: bytes, timeout: int = 5) -> bytes:
        # Asked once: what DNS does to other people's receivers is not what is watched here.
        if name not in self._keys:
            answer = self._resolver.resolve(name.decode(), "TXT", lifetime=timeout)
            self._keys[name] = b"".join(next(iter(answer)).strings)
        return self._keys[name]


def log_in(account: Account, tls: ssl.SSLContext, _ident: str) -> None:
    with imaplib.IMAP4_SSL(account.address, 993, ssl_context=tls, timeout=PATIENCE) as client:
        client.login(account.email, account.password)


def submit(account: Account, tls: ssl.SSLContext, domain: str, ident: str) -> None:
    receiver = f"witness-{account.host}-{ident}@{domain}"
    lines = (
        f"From: {account.email}",
        f"To: {receiver}",
        f"Subject: {ident}",
        f"Message-ID: <{ident}@{account.email.split('@')[1]}>",
        f"Date: {time.strftime('%a, %d %b %Y %H:%M:%S +0000', time.gmtime())}",
        "",
        "Still here.",
        "",
    )
    with smtplib.SMTP(account.address, 587, timeout=PATIENCE) as client:
        client.starttls(context=tls)
        client.login(account.email, account.password)
        client.sendmail(account.email, [receiver], "\r\n".join(lines))


def watch(
    check: str, host: str, notebook: Notebook, stop: threading.Event, look: Callable[[str], None]
) -> None:
    """Look again and again, sooner after a failure."""
    while not stop.is_set():
        ident, started, error = uuid.uuid4().hex, time.monotonic(), ""
        try:
            look(ident)
        except (OSError, imaplib.IMAP4.error, smtplib.SMTPException) as problem:
            error = f"{type(problem).__name__}: {problem}"
        notebook.write(
            check=check,
            host=host,
            at=started,
            until=time.monotonic(),
            ok=not error,
            error=error,
            id=ident,
        )
        stop.wait(RETRY if error else PAUSE)


def main() -> None:
    """Watch until stdin closes."""
    orders = json.loads(sys.stdin.readline())
    notebook = Notebook(Path(orders["notebook"]))
    tls = ssl.create_default_context(cafile=orders["ca"])
    sink = Controller(
        Sink(notebook, orders["resolver"]), hostname=orders["listen"], port=25, ready_timeout=20
    )
    sink.start()
    stop = threading.Event()
    threads = []
    for row in orders["accounts"]:
        account = Account(**row)
        looks: dict[str, Callable[[str], None]] = {
            "imap": partial(log_in, account, tls),
            "submission": partial(submit, account, tls, orders["domain"]),
        }
        for check, look in looks.items():
            arguments = (check, account.host, notebook, stop, look)
            threads.append(threading.Thread(target=watch, args=arguments))
    for thread in threads:
        thread.start()
    sys.stdin.read()
    stop.set()
    for thread in threads:
        thread.join()
    deadline = time.monotonic() + FAREWELL
    while not notebook.all_arrived() and time.monotonic() < deadline:
        time.sleep(0.1)
    sink.stop()


if __name__ == "__main__":
    main()
