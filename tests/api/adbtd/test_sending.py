"""Sending through the API to a real SMTP server: messages, batches, scheduled messages."""

import base64
from collections.abc import Iterator
from datetime import datetime, timedelta
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from litestar.testing import TestClient
from smtpkit import Server
from sqlmodel import select
from storekit import Store

from api.dispatch import Dispatcher
from orchestrator import db
from orchestrator.models import ScheduledMessage, ScheduledState, utcnow
from orchestrator.postman import Postman
from orchestrator.services import mailboxes, purge, scheduled

Client = TestClient[Dispatcher]

MESSAGE = {"to": "lena@example.com", "subject": "Grüße", "text": "plain body"}


@pytest.fixture
def smtp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """Where the mailboxes' mail goes instead of port 587 of their host."""
    with Server.running(tmp_path) as server:
        real = mailboxes.access
        monkeypatch.setattr(mailboxes, "access", lambda *given: server.redirect(real(*given)))
        yield server


@pytest.fixture
def path(fleet: Any) -> str:
    return f"/api/v1/mailboxes/mb_{fleet.alice.mailbox.id.hex}/send"


def _data(client: Client, path: str, body: object) -> Any:
    answer = client.post(path, json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()["data"]


def _received(smtp: Server) -> list[EmailMessage]:
    parsed = [message_from_bytes(raw, policy=policy.default) for raw in smtp.handler.contents]
    return [mail for mail in parsed if isinstance(mail, EmailMessage)]


def _in(seconds: float) -> str:
    return (utcnow() + timedelta(seconds=seconds)).isoformat()


def test_a_message_with_all_that_is_documented(client: Client, smtp: Server, path: str) -> None:
    data = _data(
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
    (mail,) = _received(smtp)
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
    _data(client, path, body)
    (mail,) = _received(smtp)
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
    _data(client, path, MESSAGE)
    gone = client.delete(f"/api/v1/mailboxes/mb_{fleet.alice.mailbox.id.hex}")
    assert gone.status_code == 200
    assert client.post(path, json=MESSAGE).status_code == 404
    assert client.post(f"{path}/batch", json={"messages": [MESSAGE]}).status_code == 404
    assert len(smtp.handler.contents) == 1


def test_a_template_is_filled_and_sent(client: Client, smtp: Server, path: str) -> None:
    template = {"name": "t", "subject": "Hi {{ name }}", "text": "Dear {{ name }}"}
    key = _data(client, "/api/v1/templates", template)["id"]
    body = {"to": "lena@example.com", "templateId": key, "variables": {"name": "Lena"}}
    _data(client, path, body)
    (mail,) = _received(smtp)
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
        {**MESSAGE, "sendAt": _in(60)},
        {**MESSAGE, "templateId": "tpl_x", "subject": None, "text": None},
        {**MESSAGE, "to": ["lena@example.com", "full@example.com"], "subject": "last"},
    ]
    results = _data(client, f"{path}/batch", {"messages": messages})
    assert [row["index"] for row in results] == list(range(6))
    codes = [row.get("error", {}).get("code") for row in results]
    assert codes == [None, "validation_error", "smtp_error", None, "not_found", None]
    first, last = _received(smtp)
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
    key = _data(client, "/api/v1/templates", template)["id"]
    names: list[dict[str, str]] = [{"name": "A"}, {}, {"name": "C"}]
    recipients = [{"to": "lena@example.com", "variables": given} for given in names]
    body = {"templateId": key, "recipients": recipients, "fromName": "Acme"}
    results = _data(client, f"{path}/batch", body)
    assert "'name' is undefined" in results[1]["error"]["message"]
    assert [mail["Subject"] for mail in _received(smtp)] == ["Hi A", "Hi C"]
    assert {mail["From"] for mail in _received(smtp)} == {"Acme <alice@acme.com>"}


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


def _due(store: Store) -> None:
    """Let the time of what is scheduled come."""
    with db.writing(store.engine) as session:
        for row in session.exec(select(ScheduledMessage)):
            row.send_at = row.due_at = utcnow()


@pytest.fixture
def postman(store: Store, smtp: Server) -> Iterator[Postman]:
    made = Postman(store.engine, store.settings, store.vault)
    yield made
    made.close()


def _row(store: Store) -> ScheduledMessage:
    with db.reading(store.engine) as session:
        row = session.exec(select(ScheduledMessage)).one()
        session.expunge_all()
        return row


def test_a_message_is_sent_when_its_time_comes(
    client: Client, store: Store, smtp: Server, path: str, postman: Postman
) -> None:
    moment = utcnow() + timedelta(days=300)
    made = _data(client, path, {**MESSAGE, "sendAt": moment.isoformat()})
    assert made["status"] == "scheduled"
    assert datetime.fromisoformat(made["sendAt"]) - moment < timedelta(milliseconds=1)
    assert "plain body" not in (_row(store).content or "")
    key = _row(store).id
    postman.submit(key)
    assert smtp.handler.contents == [], "it isn't due"
    _due(store)
    postman.submit(key)
    postman.submit(key)
    (mail,) = _received(smtp)
    assert mail["Message-ID"] == made["messageId"]
    assert abs(mail["Date"].datetime - moment) < timedelta(seconds=1)
    (shown,) = client.get("/api/v1/scheduled").json()["data"]
    one = client.get(f"/api/v1/scheduled/{made['scheduledId']}").json()["data"]
    assert (shown["status"], shown["accepted"]) == ("sent", ["lena@example.com"])
    assert one == shown
    assert shown["response"] == "250 2.0.0 Ok: queued as 4711"
    assert _row(store).content is None
    assert client.delete(f"/api/v1/scheduled/{made['scheduledId']}").status_code == 409


def test_nothing_is_sent_from_a_mailbox_that_is_suspended(
    client: Client, store: Store, smtp: Server, path: str, postman: Postman
) -> None:
    _data(client, path, {**MESSAGE, "sendAt": _in(60)})
    _data(client, path.replace("/send", "/suspend"), None)
    assert client.post(path, json=MESSAGE).status_code == 409
    _due(store)
    postman.submit(_row(store).id)
    row = _row(store)
    assert (row.state, row.response) == ("failed", "the mailbox alice@acme.com is suspended")
    assert smtp.handler.contents == []


def test_a_temporary_failure_is_tried_again(
    client: Client, store: Store, smtp: Server, path: str, postman: Postman
) -> None:
    _data(client, path, {**MESSAGE, "sendAt": _in(60)})
    _due(store)
    smtp.handler.answer = "451 4.3.0 later"
    postman.submit(_row(store).id)
    row = _row(store)
    assert (row.state, row.failures, row.response) == ("scheduled", 1, "451 4.3.0 later")
    assert row.due_at > utcnow()
    smtp.handler.answer = "250 ok"
    _due(store)
    postman.submit(row.id)
    assert _row(store).state is ScheduledState.SENT
    assert len({mail["Message-ID"] for mail in _received(smtp)}) == 1


@pytest.mark.parametrize(("answer", "hours"), [("554 5.7.1 never", 0), ("451 4.3.0 later", 25)])
def test_a_failure_for_good_is_told(  # noqa: PLR0917 - pytest passes by name
    client: Client,
    store: Store,
    smtp: Server,
    path: str,
    postman: Postman,
    answer: str,
    hours: int,
) -> None:
    _data(client, path, {**MESSAGE, "sendAt": _in(60)})
    with db.writing(store.engine) as session:
        row = session.exec(select(ScheduledMessage)).one()
        row.send_at = row.due_at = utcnow() - timedelta(hours=hours)
    smtp.handler.answer = answer
    postman.submit(_row(store).id)
    (shown,) = client.get("/api/v1/scheduled").json()["data"]
    assert (shown["status"], shown["response"]) == ("failed", answer)
    assert _row(store).content is None


def test_a_crash_before_the_outcome_is_written_down_repeats_the_same_message(
    client: Client, store: Store, smtp: Server, path: str, postman: Postman
) -> None:
    made = _data(client, path, {**MESSAGE, "sendAt": _in(60)})
    _due(store)
    # Between the server's 250 and our commit, the mailbox's row can't be written any more.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("orchestrator.services.scheduled.sent", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            postman.submit(_row(store).id)
    answer = client.delete(f"/api/v1/scheduled/{made['scheduledId']}")
    assert (answer.status_code, _row(store).state) == (409, "sending")
    postman.submit(_row(store).id)
    assert len(smtp.handler.contents) == 1, "it is claimed still"
    _due(store)
    postman.submit(_row(store).id)
    assert [mail["Message-ID"] for mail in _received(smtp)] == [made["messageId"]] * 2


def test_a_clock_that_was_ahead_keeps_nothing_waiting(
    client: Client, store: Store, smtp: Server, path: str, postman: Postman
) -> None:
    for seconds in (60, 86400):
        _data(client, path, {**MESSAGE, "sendAt": _in(seconds)})
    with db.writing(store.engine) as session:
        first, second = session.exec(select(ScheduledMessage).order_by("send_at")).all()
        keys = first.id, second.id
    with db.writing(store.engine) as session:
        # Taken up by a reconciler that believed it was tomorrow's tomorrow, and died.
        assert scheduled.take(session, keys[0], utcnow() + timedelta(days=2))
    with db.writing(store.engine) as session:
        scheduled.set_right(session, utcnow())
    with db.reading(store.engine) as session:
        assert scheduled.due(session, utcnow()) == [keys[0]]
    postman.submit(keys[0])
    assert len(smtp.handler.contents) == 1


def test_what_was_taken_back_is_never_sent(
    client: Client, store: Store, smtp: Server, path: str, postman: Postman
) -> None:
    made = _data(client, path, {**MESSAGE, "sendAt": _in(60)})
    stranger = {"Authorization": f"Bearer {store.key(store.workspace('stranger'))}"}
    one = f"/api/v1/scheduled/{made['scheduledId']}"
    for method in ("GET", "DELETE"):
        assert client.request(method, one, headers=stranger).status_code == 404
    assert client.get("/api/v1/scheduled", headers=stranger).json()["data"] == []
    assert client.delete(one).json()["data"]["status"] == "cancelled"
    _due(store)
    postman.submit(_row(store).id)
    assert smtp.handler.contents == []
    assert _row(store).content is None


@pytest.mark.parametrize("what", ["mailbox", "domain"])
def test_deleting_the_mailbox_takes_its_messages_back(  # noqa: PLR0917 - pytest passes by name
    client: Client, store: Store, smtp: Server, path: str, fleet: Any, what: str
) -> None:
    _data(client, path, {**MESSAGE, "sendAt": _in(60)})
    mailbox, domain = fleet.alice.mailbox.id.hex, fleet.domain.id.hex
    gone = {"mailbox": f"mailboxes/mb_{mailbox}", "domain": f"domains/dom_{domain}"}[what]
    assert client.delete(f"/api/v1/{gone}").status_code == 200
    assert (_row(store).state, _row(store).content) == ("cancelled", None)
    store.converge(fleet.host)
    with db.writing(store.engine) as session:
        assert purge.deleted(session)
        assert session.exec(select(ScheduledMessage)).all() == []


@pytest.mark.parametrize(
    "moment", [-1, 366 * 86400, "2026-01-01T00:00:00", "9999-12-31T23:59:59-23:59", "", None]
)
def test_a_time_that_can_not_be(client: Client, smtp: Server, path: str, moment: Any) -> None:
    when = _in(moment) if isinstance(moment, int) else moment or 1
    assert client.post(path, json={**MESSAGE, "sendAt": when}).status_code == 400
    assert client.get("/api/v1/scheduled").json()["data"] == []


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
    for mail in _received(smtp):
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
