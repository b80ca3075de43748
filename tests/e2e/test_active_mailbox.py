"""A mailbox that is told active can be used, however busy its host's logins are."""

import contextlib
import ssl
import threading
import uuid
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest
from imapclient import IMAPClient
from labkit import MAILBOXES, Operator, Tenant, wait_for

pytestmark = pytest.mark.lab

#: Dovecot's whole seconds begin somewhere in each.
TRIES = 6


@pytest.fixture
def busy(lab: dict[str, Any], operator: Operator, tenant: Tenant) -> Iterator[None]:
    """On both hosts somebody logs in again and again."""
    tls = ssl.create_default_context(cafile=lab["ca"])
    ended = threading.Event()

    def log_in(server: str, email: str, password: str) -> None:
        while not ended.is_set():
            with IMAPClient(server, ssl_context=tls, timeout=10) as client:
                client.login(email, password)

    with contextlib.ExitStack() as stack:
        for email in MAILBOXES.values():
            password = operator.ok(
                "mailfleet", "mailboxes", "password", email, "--workspace", "acme"
            )
            server = str(tenant.mailbox(email)["smtpHost"])
            thread = threading.Thread(target=log_in, args=(server, email, password))
            thread.start()
            stack.callback(thread.join)
            stack.callback(ended.set)
        yield


def active(tenant: Tenant, email: str) -> bool:
    return bool(tenant.mailbox(email)["status"] == "active")


@pytest.mark.usefixtures("busy")
def test_what_is_told_active_can_be_used_at_once(tenant: Tenant) -> None:
    refused = []
    for _ in range(TRIES):
        email = f"t{uuid.uuid4().hex[:10]}@acme-mail.net"
        tenant.data("POST", "/mailboxes", {"emails": [email]})
        wait_for("an active mailbox", partial(active, tenant, email), every=0.01)
        path = f"/mailboxes/{tenant.mailbox(email)['id']}"
        message = {"to": email, "subject": "first", "text": "x"}
        answer = tenant.call("POST", f"{path}/send", message)
        if answer.status_code != 200:
            refused.append(answer.text)
        tenant.data("DELETE", path)
    assert refused == []
