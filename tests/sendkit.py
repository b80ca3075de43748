"""Messages sent through the API, and what a real SMTP server got of them."""

from datetime import timedelta
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Any

from litestar.testing import TestClient
from smtpkit import Server

from api.dispatch import Dispatcher
from orchestrator.models import utcnow

MESSAGE = {"to": "lena@example.com", "subject": "Grüße", "text": "plain body"}


def post(client: TestClient[Dispatcher], path: str, body: object) -> Any:
    """The data of a POST that succeeds."""
    answer = client.post(path, json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()["data"]


def received(smtp: Server) -> list[EmailMessage]:
    """The messages that the server took, in their order."""
    parsed = [message_from_bytes(raw, policy=policy.default) for raw in smtp.handler.contents]
    return [mail for mail in parsed if isinstance(mail, EmailMessage)]


def soon(seconds: float) -> str:
    """So many seconds from now, as ``sendAt`` has it."""
    return (utcnow() + timedelta(seconds=seconds)).isoformat()
