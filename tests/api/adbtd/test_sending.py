"""Sending through the API to a real SMTP server: messages and batches."""

import base64
from datetime import timedelta
from email.message import EmailMessage
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from litestar.testing import TestClient
from sendkit import MESSAGE, post, received, soon
from smtpkit import Server

from api.dispatch import Dispatcher
from orchestrator.models import utcnow

Client = TestClient[Dispatcher]


def test_a_message_with_all_that_is_documented(client: Client, smtp: Server, path: str) -> None:
    data = post(
        client,
        path,
        {
            **MESSAGE,
            "to": ["lena@example.com", "full@example.com"],
            "cc": ["lena.cc@example.com"],
            "bcc": ["lena.bcc@example.com"],
            "html": "<p>Grüße</p>",
            "fromName": "Älice at Acme",
            "replyTo": "support@acme.com",
        },
    )
    (mail,) = received(smtp)
    assert data == {
        "messageId": mail["Message-ID"],
        "accepted": ["lena@example.com", "lena.cc@example.com", "lena.bcc@example.com"],
        "rejected": ["full@example.com"],
        "response": "250 2.0.0 Ok: queued as 4711",
    }
    assert mail["Message-ID"].endswith("@acme.com>")
    assert mail["From"] == "Älice at Acme <alice@acme.com>"
    assert (mail["Subject"], mail["Reply-To"]) == ("Grüße", "support@acme.com")
    assert (mail["To"], mail["Cc"]) == ("lena@example.com, full@example.com", "lena.cc@example.com")
    assert abs(mail["Date"].datetime - utcnow()) < timedelta(minutes=5)
    assert b"bcc" not in smtp.handler.contents[0].lower()
    assert [part.get_content_type() for part in mail.iter_parts()] == ["text/plain", "text/html"]


def test_attachments_arrive_as_they_were(client: Client, smtp: Server, path: str) -> None:
    octets = bytes(range(256)) * 100
    files = [
        {"filename": "größe.pdf", "contentType": "application/pdf"},
        {"filename": "logo.png", "contentType": "image/png", "contentId": "logo@acme"},
    ]
    encoded = base64.b64encode(octets).decode()
    body = {
        **MESSAGE,
        "html": '<img src="cid:logo@acme">',
        "attachments": [{**file, "content": encoded} for file in files],
    }
    post(client, path, body)
    (mail,) = received(smtp)
    kinds = [part.get_content_type() for part in mail.walk()]
    assert kinds == [
        "multipart/mixed",
        "multipart/alternative",
        "text/plain",
        "multipart/related",
        "text/html",
        "image/png",
        "application/pdf",
    ]
    logo, deck = (part for part in mail.walk() if part.get_filename())
    assert (logo["Content-ID"], logo.get_content_disposition()) == ("<logo@acme>", "inline")
    assert (deck.get_filename(), deck.get_content_disposition()) == ("größe.pdf", "attachment")
    assert isinstance(logo, EmailMessage) and isinstance(deck, EmailMessage)
    assert logo.get_content() == deck.get_content() == octets


def test_a_kept_session_serves_no_deleted_mailbox(
    client: Client, smtp: Server, path: str, fleet: Any
) -> None:
    post(client, path, MESSAGE)
    gone = client.delete(f"/api/v1/mailboxes/mb_{fleet.alice.mailbox.id.hex}")
    assert gone.status_code == 200
    assert client.post(path, json=MESSAGE).status_code == 404
    assert client.post(f"{path}/batch", json={"messages": [MESSAGE]}).status_code == 404
    assert len(smtp.handler.contents) == 1


def test_a_template_is_filled_and_sent(client: Client, smtp: Server, path: str) -> None:
    template = {"name": "t", "subject": "Hi {{ name }}", "text": "Dear {{ name }}"}
    key = post(client, "/api/v1/templates", template)["id"]
    body = {"to": "lena@example.com", "templateId": key, "variables": {"name": "Lena"}}
    post(client, path, body)
    (mail,) = received(smtp)
    assert (mail["Subject"], mail.get_content().strip()) == ("Hi Lena", "Dear Lena")
    changes: list[dict[str, Any]] = [
        {"variables": {}},
        {"variables": {"name": "a\r\nBcc: b@c.com"}},
        {"text": "x"},
    ]
    for change in changes:
        assert client.post(path, json={**body, **change}).status_code == 400
    assert client.post(path, json={**body, "templateId": "tpl_x"}).status_code == 404
    assert len(smtp.handler.contents) == 1


def test_a_batch_tells_of_each_message(client: Client, smtp: Server, path: str) -> None:
    messages = [
        MESSAGE,
        {**MESSAGE, "to": "nobody"},
        {**MESSAGE, "to": "full@example.com"},
        {**MESSAGE, "sendAt": soon(60)},
        {**MESSAGE, "templateId": "tpl_x", "subject": None, "text": None},
        {**MESSAGE, "to": ["lena@example.com", "full@example.com"], "subject": "last"},
    ]
    results = post(client, f"{path}/batch", {"messages": messages})
    assert [row["index"] for row in results] == list(range(6))
    codes = [row.get("error", {}).get("code") for row in results]
    assert codes == [None, "validation_error", "smtp_error", None, "not_found", None]
    first, last = received(smtp)
    assert results[0] == {
        "index": 0,
        "messageId": first["Message-ID"],
        "accepted": ["lena@example.com"],
        "rejected": [],
        "refusals": [],
        "response": "250 2.0.0 Ok: queued as 4711",
    }
    assert results[2]["error"]["message"] == "552 5.2.2 Mailbox full"
    assert results[3]["status"] == "scheduled"
    assert (last["Subject"], results[5]["refusals"]) == ("last", ["552 5.2.2 Mailbox full"])
    assert len(smtp.handler.servers) == 1, "one connection serves the whole batch"


def test_a_batch_that_fills_a_template(client: Client, smtp: Server, path: str) -> None:
    template = {"name": "t", "subject": "Hi {{ name }}", "text": "x"}
    key = post(client, "/api/v1/templates", template)["id"]
    names: list[dict[str, str]] = [{"name": "A"}, {}, {"name": "C"}]
    recipients = [{"to": "lena@example.com", "variables": given} for given in names]
    body = {"templateId": key, "recipients": recipients, "fromName": "Acme"}
    results = post(client, f"{path}/batch", body)
    assert "'name' is undefined" in results[1]["error"]["message"]
    assert [mail["Subject"] for mail in received(smtp)] == ["Hi A", "Hi C"]
    assert {mail["From"] for mail in received(smtp)} == {"Acme <alice@acme.com>"}


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"messages": []},
        {"messages": [MESSAGE] * 101},
        {"messages": [{**MESSAGE, "extra": 1}]},
        {"messages": [MESSAGE], "fromName": "x"},
        {"templateId": "tpl_x"},
        {"recipients": [{"to": "lena@example.com"}]},
        {"messages": [MESSAGE], "sendAt": "tomorrow"},
    ],
)
def test_a_batch_that_is_none_sends_nothing(
    client: Client, smtp: Server, path: str, body: Any
) -> None:
    assert client.post(f"{path}/batch", json=body).status_code == 400
    assert smtp.handler.contents == []


EVIL = st.one_of(
    st.text(max_size=60),
    st.sampled_from(
        [
            "a\r\nBcc: evil@evil.com",
            "a\nX-Evil: 1",
            "a\r\n\r\n<script>",
            "a\0b",
            "\u202egnp.exe",
            "\u2028X-Evil: 1",
            "x" * 10_000_000,
            "=?utf-8?q?=0D=0AX-Evil:_1?=",
            "lena@mün\u202echen.de",
            "lena@example.com>\r\nRCPT TO:<evil@evil.com",
            "\x85X-Evil: 1",
        ]
    ),
)
FIELDS = [
    "to",
    "cc",
    "bcc",
    "subject",
    "fromName",
    "replyTo",
    "filename",
    "contentType",
    "contentId",
]


@pytest.mark.parametrize("field", ["to", "subject", "fromName", "replyTo", "filename", "contentId"])
def test_an_encoded_word_is_refused(client: Client, smtp: Server, path: str, field: str) -> None:
    """The email package would decode it, line break included."""
    evil = "=?utf-8?q?=0D=0AX-Evil:_1?="
    file = {"filename": "a", "contentType": "image/png", "content": "AAAA", "contentId": "a"}
    body: dict[str, Any] = {**MESSAGE, "html": "<p>", "attachments": [file]}
    if field in file:
        file[field] = evil
    else:
        body[field] = f"{evil} <lena@example.com>" if field in {"to", "replyTo"} else evil
    answer = client.post(path, json=body)
    assert answer.status_code == 400, answer.text
    assert smtp.handler.contents == []


@settings(
    deadline=None,
    max_examples=40,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(field=st.sampled_from(FIELDS), evil=EVIL, batch=st.booleans())
def test_nothing_breaks_out_of_its_header(  # noqa: PLR0917 - pytest passes by name
    client: Client, smtp: Server, path: str, field: str, evil: str, batch: bool
) -> None:
    smtp.handler.contents.clear()
    file = {"filename": "a", "contentType": "image/png", "content": "AAAA", "contentId": "a"}
    body: dict[str, Any] = {**MESSAGE, "html": "<p>", "attachments": [file]}
    if field in file:
        file[field] = evil
    else:
        body[field] = [evil] if field in {"cc", "bcc"} else evil
    if batch:
        answer = client.post(f"{path}/batch", json={"messages": [body]})
    else:
        answer = client.post(path, json=body)
    assert answer.status_code in {200, 400, 413, 502}, answer.text
    for mail in received(smtp):
        headers = {key.lower() for part in mail.walk() for key in part.keys()}  # noqa: SIM118
        assert headers <= {
            "from",
            "to",
            "cc",
            "reply-to",
            "subject",
            "date",
            "message-id",
            "mime-version",
            "content-type",
            "content-transfer-encoding",
            "content-disposition",
            "content-id",
        }
        assert mail["From"].addresses[0].addr_spec == "alice@acme.com"
        assert len(list(mail.walk())) == 5
