"""Messages that wait for their time, and the reconciler that sends them."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest
from litestar.testing import TestClient
from sendkit import MESSAGE, post, received, soon
from smtpkit import Server
from sqlmodel import select
from storekit import Store

from api.dispatch import Dispatcher
from orchestrator import db
from orchestrator.models import ScheduledMessage, ScheduledState, utcnow
from orchestrator.services import purge, scheduled
from orchestrator.work.postman import Postman

Client = TestClient[Dispatcher]


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
    made = post(client, path, {**MESSAGE, "sendAt": moment.isoformat()})
    assert made["status"] == "scheduled"
    assert datetime.fromisoformat(made["sendAt"]) - moment < timedelta(milliseconds=1)
    assert "plain body" not in (_row(store).content or "")
    key = _row(store).id
    postman.submit(key)
    assert smtp.handler.contents == [], "it isn't due"
    _due(store)
    postman.submit(key)
    postman.submit(key)
    (mail,) = received(smtp)
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
    post(client, path, {**MESSAGE, "sendAt": soon(60)})
    post(client, path.replace("/send", "/suspend"), None)
    assert client.post(path, json=MESSAGE).status_code == 409
    _due(store)
    postman.submit(_row(store).id)
    row = _row(store)
    assert (row.state, row.response) == ("failed", "the mailbox alice@acme.com is suspended")
    assert smtp.handler.contents == []


def test_a_temporary_failure_is_tried_again(
    client: Client, store: Store, smtp: Server, path: str, postman: Postman
) -> None:
    post(client, path, {**MESSAGE, "sendAt": soon(60)})
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
    assert len({mail["Message-ID"] for mail in received(smtp)}) == 1


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
    post(client, path, {**MESSAGE, "sendAt": soon(60)})
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
    made = post(client, path, {**MESSAGE, "sendAt": soon(60)})
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
    assert [mail["Message-ID"] for mail in received(smtp)] == [made["messageId"]] * 2


def test_a_clock_that_was_ahead_keeps_nothing_waiting(
    client: Client, store: Store, smtp: Server, path: str, postman: Postman
) -> None:
    for seconds in (60, 86400):
        post(client, path, {**MESSAGE, "sendAt": soon(seconds)})
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
    made = post(client, path, {**MESSAGE, "sendAt": soon(60)})
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
    post(client, path, {**MESSAGE, "sendAt": soon(60)})
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
    when = soon(moment) if isinstance(moment, int) else moment or 1
    assert client.post(path, json={**MESSAGE, "sendAt": when}).status_code == 400
    assert client.get("/api/v1/scheduled").json()["data"] == []
