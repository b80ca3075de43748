"""What becomes of a mailbox, through the API: passwords, suspension, quotas, aliases, deletion."""

from datetime import timedelta
from typing import Any

import pytest
from litestar.testing import TestClient
from sqlmodel import select
from storekit import Store

from api.dispatch import Dispatcher
from orchestrator import db
from orchestrator.models import Alias, Host, Mailbox, Workspace, utcnow
from orchestrator.services import purge

Client = TestClient[Dispatcher]


def path(placed: Any, more: str = "") -> str:
    return f"/api/v1/mailboxes/mb_{placed.mailbox.id.hex}{more}"


def data(answer: Any) -> Any:
    assert answer.status_code == 200, answer.text
    return answer.json()["data"]


def fails(answer: Any, status: int, words: str) -> None:
    assert answer.status_code == status, answer.text
    assert words in answer.json()["error"]["message"]


@pytest.fixture
def active(store: Store, fleet: Any) -> Any:
    """The fleet once its host has everything."""
    store.prove(fleet.domain)
    store.converge(fleet.host)
    return fleet


def status(client: Client, placed: Any) -> str:
    return str(data(client.get(path(placed)))["status"])


def test_a_password_is_told_once(client: Client, store: Store, active: Any) -> None:
    told = data(client.post(path(active.alice, "/password"), json={}))
    assert set(told) == {"id", "email", "password"}
    assert (told["email"], len(told["password"])) == ("alice@acme.com", 32)
    with db.reading(store.engine) as session:
        row = session.get_one(Mailbox, active.alice.mailbox.id)
        assert store.vault.decrypt(row.password) == told["password"]
        assert row.password_hash != active.alice.mailbox.password_hash
    assert told["password"] not in client.get(path(active.alice)).text
    assert status(client, active.bob) == "active"


def test_a_mailbox_is_active_again_once_its_host_has_the_password(
    client: Client, store: Store, active: Any
) -> None:
    with db.writing(store.engine) as session:
        session.get_one(Host, active.host.id).applied_at = utcnow()
    assert status(client, active.alice) == "active"
    data(client.post(path(active.alice, "/password"), json={"password": "a b c d e f g"}))
    assert status(client, active.alice) == "provisioning"
    store.converge(active.host)
    assert status(client, active.alice) == "active"


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"password": "x" * 11}, "12 to 128"),
        ({"password": "x" * 129}, "12 to 128"),
        ({"password": "x" * 12 + "\n"}, "printable"),
        ({"password": "pässword-pässword"}, "printable ASCII"),
        ({"password": 123456789012}, "password"),
        ({"password": None}, "password"),
        ({"secret": "x" * 12}, "secret"),
    ],
)
def test_a_bad_password_changes_nothing(
    client: Client, store: Store, active: Any, body: object, words: str
) -> None:
    fails(client.post(path(active.alice, "/password"), json=body), 400, words)
    with db.reading(store.engine) as session:
        row = session.get_one(Mailbox, active.alice.mailbox.id)
        assert row.password_hash == active.alice.mailbox.password_hash


def test_who_is_suspended_sends_and_reads_nothing(client: Client, active: Any) -> None:
    assert data(client.post(path(active.alice, "/suspend")))["status"] == "suspended"
    assert status(client, active.alice) == "suspended"
    body = {"to": "you@worldpost.org", "subject": "x", "text": "x"}
    fails(client.post(path(active.alice, "/send"), json=body), 409, "is suspended")
    fails(client.get(path(active.alice, "/messages")), 409, "is suspended")
    fails(client.get(path(active.alice, "/quota")), 409, "is suspended")
    fails(client.post(path(active.alice, "/suspend")), 409, "suspended already")
    assert data(client.post(path(active.alice, "/resume")))["status"] in {"active", "provisioning"}
    fails(client.post(path(active.alice, "/resume")), 409, "not suspended")


def test_a_quota_is_set_within_limits(client: Client, active: Any) -> None:
    changed = data(client.patch(path(active.alice), json={"quotaMib": 51_200}))
    assert changed == {
        "id": f"mb_{active.alice.mailbox.id.hex}",
        "email": "alice@acme.com",
        "quotaMib": 51_200,
    }
    for bad in (0, -1, 51_201):
        fails(client.patch(path(active.alice), json={"quotaMib": bad}), 400, "quotaMib")
    for wrong in ({}, {"quotaMib": "1"}, {"quotaMib": 1, "email": "x@acme.com"}):
        assert client.patch(path(active.alice), json=wrong).status_code == 400


def test_aliases_come_and_go(client: Client, active: Any) -> None:
    assert data(client.get(path(active.alice, "/aliases"))) == []
    made = data(client.post(path(active.alice, "/aliases"), json={"email": "Sales@ACME.com"}))
    assert set(made) == {"email", "createdAt"}
    assert data(client.get(path(active.alice, "/aliases"))) == [made]
    assert data(client.get(path(active.bob, "/aliases"))) == []
    fails(client.delete(path(active.bob, "/aliases/sales@acme.com")), 404, "no such alias")
    gone = data(client.delete(path(active.alice, "/aliases/sales@acme.com")))
    assert gone == {"deleted": "sales@acme.com"}
    fails(client.delete(path(active.alice, "/aliases/sales@acme.com")), 404, "no such alias")


def test_an_address_is_somebodys_once(client: Client, active: Any) -> None:
    aliases = path(active.alice, "/aliases")
    data(client.post(aliases, json={"email": "sales@acme.com"}))
    for email in ("sales@acme.com", "bob@acme.com", "alice@acme.com"):
        fails(client.post(aliases, json={"email": email}), 409, "exists already")
    made = client.post("/api/v1/mailboxes", json={"emails": ["new@acme.com", "sales@acme.com"]})
    fails(made, 409, "the alias sales@acme.com exists already")
    fails(client.post(aliases, json={"email": "x@elsewhere.com"}), 409, "not on this workspace")
    for bad in ("no address", "a+b@acme.com", "a@acme.com\n", "@acme.com"):
        assert client.post(aliases, json={"email": bad}).status_code == 400
    for number in range(49):
        data(client.post(aliases, json={"email": f"n{number}@acme.com"}))
    fails(client.post(aliases, json={"email": "n50@acme.com"}), 409, "at most 50")


def test_aliases_go_with_their_mailbox_and_their_domain(
    client: Client, store: Store, active: Any
) -> None:
    with db.reading(store.engine) as session:
        acme = session.get_one(Workspace, active.domain.workspace_id)
    other = store.domain(acme, "acme.org")
    data(client.post(path(active.alice, "/aliases"), json={"email": "sales@acme.com"}))
    data(client.post(path(active.bob, "/aliases"), json={"email": "bob@acme.org"}))
    data(client.delete(f"/api/v1/domains/dom_{other.id.hex}"))
    assert data(client.get(path(active.bob, "/aliases"))) == []
    data(client.delete(path(active.alice)))
    with db.reading(store.engine) as session:
        assert session.exec(select(Alias)).all() == []
    data(client.post("/api/v1/mailboxes", json={"emails": ["sales@acme.com"]}))


@pytest.mark.parametrize("whole_domain", [False, True])
def test_a_purge_is_awaited(client: Client, store: Store, active: Any, whole_domain: bool) -> None:
    domain = f"/api/v1/domains/dom_{active.domain.id.hex}"
    assert client.delete(path(active.alice), params={"mail": "burn"}).status_code == 400
    answer = client.delete(domain if whole_domain else path(active.alice), params={"mail": "purge"})
    expected = {"deletedMailboxes": 2} if whole_domain else {"deleted": "alice@acme.com"}
    assert data(answer) == expected
    if whole_domain:
        data(client.post("/api/v1/domains", json={"name": "acme.com"}))
    again = {"emails": ["alice@acme.com"]}
    fails(client.post("/api/v1/mailboxes", json=again), 409, "still being removed")
    with db.writing(store.engine) as session:
        session.get_one(Host, active.host.id).applied_at = utcnow() + timedelta(seconds=1)
        purge.deleted(session)
    data(client.post("/api/v1/mailboxes", json=again))


def test_mail_that_is_kept_is_waited_for_by_nobody(client: Client, active: Any) -> None:
    data(client.delete(path(active.alice), params={"mail": "keep"}))
    data(client.post("/api/v1/mailboxes", json={"emails": ["alice@acme.com"]}))


def test_a_domain_that_is_not_proven_purges_nothing(
    client: Client, store: Store, fleet: Any
) -> None:
    """Its mail would be another workspace's: whose domain it is."""
    data(client.delete(path(fleet.alice), params={"mail": "purge"}))
    with db.reading(store.engine) as session:
        assert session.get_one(Mailbox, fleet.alice.mailbox.id).purge_since is None


@pytest.mark.parametrize(
    ("method", "more", "body"),
    [
        ("POST", "/password", {}),
        ("POST", "/suspend", None),
        ("POST", "/resume", None),
        ("PATCH", "", {"quotaMib": 1}),
        ("GET", "/quota", None),
        ("GET", "/aliases", None),
        ("POST", "/aliases", {"email": "x@acme.com"}),
        ("DELETE", "/aliases/x@acme.com", None),
        ("DELETE", "?mail=purge", None),
    ],
)
def test_anothers_mailbox_is_not_there(  # noqa: PLR0917 - the case and its fixtures
    client: Client, store: Store, fleet: Any, method: str, more: str, body: object
) -> None:
    other = store.workspace("other")
    client.headers["Authorization"] = f"Bearer {store.key(other)}"
    answer = client.request(method, path(fleet.alice, more), json=body)
    fails(answer, 404, "no such mailbox")
