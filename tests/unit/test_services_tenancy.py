"""Workspaces, keys, domains and mailboxes."""

from collections.abc import Iterator
from datetime import timedelta

import pytest
from sqlmodel import Session, select
from storekit import Store

from orchestrator import db, dkim
from orchestrator.conditions import Reason, Status, Type
from orchestrator.dns.records import Purpose
from orchestrator.errors import Conflict, Invalid, NotFound, Unauthorized
from orchestrator.models import (
    Address,
    DkimKey,
    Domain,
    DomainMode,
    Host,
    Mailbox,
    Workspace,
    utcnow,
)
from orchestrator.secrets import token_digest
from orchestrator.services import (
    addresses,
    conditions,
    domains,
    keys,
    mailboxes,
    messages,
    status,
    workspaces,
)
from orchestrator.services.messages import Draft, Upload
from orchestrator.services.rows import unique


@pytest.fixture
def session(store: Store) -> Iterator[Session]:
    with db.writing(store.engine) as session:
        yield session


@pytest.fixture
def acme(store: Store) -> Workspace:
    store.pool(store.host(), "198.51.100.21", "198.51.100.22")
    workspace = store.workspace()
    store.assign(workspace)
    return workspace


def test_dkim_keys_are_2048_bits_and_differ() -> None:
    private, public = dkim.generate()
    assert private.startswith("-----BEGIN PRIVATE KEY-----")
    assert len(public) == 392
    assert dkim.generate()[1] != public
    assert dkim.selector(utcnow().replace(year=2026)) == "adbtd-2026"


def test_a_slug_is_taken_once(store: Store, session: Session) -> None:
    workspaces.create(session, slug="acme", name="Acme")
    with pytest.raises(Conflict):
        workspaces.create(session, slug="acme", name="Other")


def test_workspaces_prove_with_tokens_of_their_own(store: Store) -> None:
    assert store.workspace("a").verification_token != store.workspace("b").verification_token


def test_a_key_authenticates_until_it_is_revoked(store: Store) -> None:
    workspace = store.workspace()
    with db.writing(store.engine) as session:
        row, token = keys.create(session, workspace, "ci/cd")
    assert token.startswith("adbtd_live_" + row.hint)
    assert row.digest == token_digest(token) and token not in repr(row)
    with db.writing(store.engine) as session:
        found, key = keys.authenticate(session, token, utcnow())
        assert (found.id, key.id) == (workspace.id, row.id)
        keys.revoke(session, workspace, row.id)
        with pytest.raises(Unauthorized):
            keys.authenticate(session, token, utcnow())
        assert [k.id for k in keys.list_(session, workspace)] == [row.id]


@pytest.mark.parametrize(
    "token", ["", "adbtd_live_", "adbtd_live_" + "a" * 43, "sk_live_" + "a" * 43, "\0", "a" * 9999]
)
def test_a_token_that_was_never_made_is_refused(session: Session, token: str) -> None:
    with pytest.raises(Unauthorized):
        keys.authenticate(session, token, utcnow())


def test_a_key_is_revoked_by_its_workspace_only(store: Store) -> None:
    mine, other = store.workspace("mine"), store.workspace("other")
    with db.writing(store.engine) as session:
        row, _ = keys.create(session, mine, "k")
        with pytest.raises(NotFound):
            keys.revoke(session, other, row.id)


def test_a_domain_needs_an_address_first(store: Store) -> None:
    with pytest.raises(Conflict, match="dedicated IP"):
        store.domain(store.workspace())


def test_a_domain_comes_with_an_encrypted_key_and_is_due(
    store: Store, acme: Workspace, session: Session
) -> None:
    domains.add(session, store.vault, store.settings, acme, name="ACME.com")
    domain = domains.get_by_name(session, acme, "acme.com")
    key = session.exec(select(DkimKey).where(DkimKey.domain_id == domain.id)).one()
    assert "PRIVATE" not in key.private_key
    assert "BEGIN PRIVATE KEY" in store.vault.decrypt(key.private_key)
    assert domain.verified_at is None and domain.dns_due_at <= utcnow()
    assert domains.selectors(session, [domain]) == {domain.id: f"adbtd-{utcnow().year}"}


def test_a_domain_is_added_once_and_again_after_deletion(store: Store, acme: Workspace) -> None:
    domain = store.domain(acme)
    with pytest.raises(Conflict):
        store.domain(acme)
    with db.writing(store.engine) as session:
        domains.delete(session, acme, domain.id)
    assert store.domain(acme).id != domain.id


def test_a_proven_domain_is_not_for_others_but_an_unproven_one_is(
    store: Store, acme: Workspace
) -> None:
    rival = store.workspace("rival")
    store.assign(rival)
    domain = store.domain(acme)
    store.domain(rival)
    store.prove(domain)
    third = store.workspace("third")
    with db.writing(store.engine) as session, pytest.raises(NotFound):
        domains.get(session, third, domain.id)
    store.pool(store.host("mx2", "198.51.100.12"), "198.51.100.31")
    store.assign(third)
    with pytest.raises(Conflict, match="another workspace"):
        store.domain(third)


@pytest.mark.parametrize(
    "name", ["fleetlab.net", "x.fleetlab.net", "probe.fleetlab.net", "mx1.fleetlab.net"]
)
def test_the_fleets_own_names_are_no_tenants(store: Store, acme: Workspace, name: str) -> None:
    with pytest.raises(Invalid):
        store.domain(acme, name)


def test_domains_are_not_bought_here(store: Store, acme: Workspace, session: Session) -> None:
    with pytest.raises(Invalid, match="mode"):
        domains.add(
            session, store.vault, store.settings, acme, name="acme.com", mode=DomainMode.BUY
        )


def test_expected_records_follow_the_workspaces_addresses(store: Store, acme: Workspace) -> None:
    domain = store.domain(acme)
    with db.reading(store.engine) as session:
        records = domains.expected_records(session, store.settings, domain)
    by_purpose = {record.purpose: record for record in records}
    assert acme.verification_token in by_purpose[Purpose.OWNERSHIP].value
    assert by_purpose[Purpose.MX].value == "10 mx1.fleetlab.net"
    assert domains.spf_ips(records) == ["198.51.100.21"]
    assert by_purpose[Purpose.DKIM].name.endswith("._domainkey.acme.com")
    assert Purpose.DMARC in by_purpose


def test_a_hosts_name_lets_all_its_addresses_send(store: Store, acme: Workspace) -> None:
    with db.reading(store.engine) as session:
        own = session.exec(select(Domain).where(Domain.name == "mx1.fleetlab.net")).one()
        records = domains.expected_records(session, store.settings, own)
    assert {r.purpose for r in records} == {Purpose.SPF, Purpose.DKIM, Purpose.DMARC}
    assert set(domains.spf_ips(records)) == {"198.51.100.11", "198.51.100.21", "198.51.100.22"}


def test_deleting_a_domain_takes_its_mailboxes_and_wakes_the_host(
    store: Store, acme: Workspace
) -> None:
    domain = store.domain(acme)
    store.mailboxes(acme, "alice@acme.com", "bob@acme.com")
    with db.writing(store.engine) as session:
        host = session.exec(select(Host)).one()
        host.due_at = utcnow() + timedelta(hours=1)
    with db.writing(store.engine) as session:
        assert domains.delete(session, acme, domain.id) == 2
    with db.reading(store.engine) as session:
        assert mailboxes.list_(session, acme) == []
        assert session.exec(select(Host)).one().due_at <= utcnow()
        with pytest.raises(NotFound):
            domains.delete(session, acme, domain.id)


def test_mailboxes_are_spread_over_the_addresses(store: Store, acme: Workspace) -> None:
    store.domain(acme)
    store.assign(acme)
    placed = store.mailboxes(acme, *(f"m{n}@acme.com" for n in range(6)))
    ips = [row.address.ip for row in placed]
    assert sorted(set(ips)) == ["198.51.100.21", "198.51.100.22"]
    assert ips.count("198.51.100.21") == 3


def test_a_mailboxs_password_is_encrypted_and_hashed(store: Store, acme: Workspace) -> None:
    store.domain(acme)
    (placed,) = store.mailboxes(acme, "alice@acme.com")
    access = mailboxes.access(store.vault, store.settings, placed)
    assert len(access.password) == 32
    assert access.password not in repr(access)
    assert placed.mailbox.password_hash.startswith("{SHA512-CRYPT}$6$")
    assert access.password not in placed.mailbox.password
    assert (access.address, access.host) == ("198.51.100.21", "mx1.fleetlab.net")


def test_mailboxes_come_all_or_none(store: Store, acme: Workspace) -> None:
    store.domain(acme)
    store.mailboxes(acme, "bob@acme.com")
    for emails, error in (
        (["alice@acme.com", "bob@acme.com"], Conflict),
        (["alice@acme.com", "x@other.com"], Conflict),
        (["alice@acme.com", "ALICE@acme.com"], Invalid),
        (["alice@acme.com", "no"], Invalid),
        ([], Invalid),
        ([f"m{n}@acme.com" for n in range(101)], Invalid),
    ):
        with pytest.raises(error):
            store.mailboxes(acme, *emails)
    with db.reading(store.engine) as session:
        assert [row.mailbox.email for row in mailboxes.list_(session, acme)] == ["bob@acme.com"]


def test_the_database_itself_refuses_a_second_mailbox(store: Store, acme: Workspace) -> None:
    store.domain(acme)
    (placed,) = store.mailboxes(acme, "alice@acme.com")
    with pytest.raises(Conflict), db.writing(store.engine) as session:
        twin = Mailbox(**placed.mailbox.model_dump(exclude={"id"}))
        with unique(session, "taken"):
            session.add(twin)


def test_a_mailbox_stays_on_its_host(store: Store, acme: Workspace) -> None:
    store.domain(acme)
    (placed,) = store.mailboxes(acme, "alice@acme.com")
    store.pool(store.host("mx2", "198.51.100.12"), "198.51.100.31")
    store.assign(acme, 2)
    with db.writing(store.engine) as session:
        mine = {row.ip: row for row in addresses.list_(session, acme)}
        mailbox = session.get_one(Mailbox, placed.mailbox.id)
        mailboxes.set_address(session, mailbox, mine["198.51.100.22"])
        assert mailbox.address_id == mine["198.51.100.22"].id
        with pytest.raises(Conflict, match="another host"):
            mailboxes.set_address(session, mailbox, mine["198.51.100.31"])
        foreign = session.exec(select(Address)).all()
        session.expunge_all()
        for address in foreign:
            address.workspace_id = None
            with pytest.raises(Conflict, match="not assigned"):
                mailboxes.set_address(session, mailbox, address)


def test_unknown_takes_nothing_back(store: Store, acme: Workspace, session: Session) -> None:
    domain = Domain(name="acme.com")
    conditions.set_(session, domain.id, Type.SPF_OK, Status.TRUE, Reason.OBSERVED)
    row = conditions.get_all(session, [domain.id])[domain.id, Type.SPF_OK]
    since = row.transition_at
    conditions.set_(
        session, domain.id, Type.SPF_OK, Status.UNKNOWN, Reason.RESOLVER_FAILED, "timed out"
    )
    assert (row.status, row.known) == (Status.UNKNOWN, Status.TRUE)
    assert row.transition_at > since
    since = row.transition_at
    conditions.set_(session, domain.id, Type.SPF_OK, Status.UNKNOWN, Reason.RESOLVER_FAILED)
    observed = conditions.get_all(session, [domain.id])
    assert observed[domain.id, Type.SPF_OK].transition_at == since
    assert status.holds(domain, Type.SPF_OK, observed)
    conditions.set_(session, domain.id, Type.SPF_OK, Status.FALSE, Reason.MISSING)
    assert not status.holds(domain, Type.SPF_OK, conditions.get_all(session, [domain.id]))
    assert not status.holds(domain, Type.MX_OK, observed)


def test_a_domains_status(session: Session) -> None:
    domain = Domain(name="acme.com")
    assert status.domain_status(domain, {}) == "pending"
    conditions.set_(
        session, domain.id, Type.OWNERSHIP_PROVEN, Status.FALSE, Reason.CLAIMED_ELSEWHERE
    )
    observed = conditions.get_all(session, [domain.id])
    assert status.domain_status(domain, observed) == "failed"
    domain.verified_at = utcnow()
    assert status.domain_status(domain, observed) == "verified"


def test_a_mailbox_is_active_once_its_host_was_seen_converged(
    store: Store, acme: Workspace
) -> None:
    domain = store.domain(acme)
    (placed,) = store.mailboxes(acme, "alice@acme.com")

    def now() -> str:
        with db.reading(store.engine) as session:
            row = mailboxes.get(session, acme, placed.mailbox.id)
            observed = conditions.get_all(session, [row.host.id])
            return status.mailbox_status(row.mailbox, row.domain, row.host, observed)

    store.converge(placed.host)
    assert now() == "provisioning"
    store.prove(domain)
    store.converge(placed.host)
    assert now() == "active"
    store.observe(placed.host, Type.CONVERGED, status=Status.UNKNOWN)
    assert now() == "active"
    store.observe(placed.host, Type.CONVERGED, status=Status.FALSE)
    assert now() == "provisioning"


def upload(**change: str) -> Upload:
    return Upload(**{"filename": "a", "content_type": "text/plain", "content": "aGk=", **change})


def test_a_message_is_composed_of_checked_parts() -> None:
    draft = Draft(to=["You@example.com"], subject="héllo", text="x", from_name=" Alice at Acme ")
    message = messages.compose(draft, size_limit=1000)
    assert message.to == ("You@example.com",)
    assert message.from_name == "Alice at Acme"


@pytest.mark.parametrize(
    "change",
    [
        {"to": []},
        {"to": ["you@example.com\r\nBcc: x@example.com"]},
        {"cc": ["nobody"]},
        {"bcc": ["a@b@"]},
        {"to": [f"m{n}@acme.com" for n in range(101)]},
        {"subject": "a\r\nBcc: x@example.com"},
        {"subject": "a\0"},
        {"subject": "x" * 999},
        {"text": None},
        {"text": ""},
        {"from_name": "Alice\nX: y"},
        {"from_name": ""},
        {"reply_to": "x y@acme.com"},
        {"subject": None},
        {"attachments": [upload()] * 51},
        {"attachments": [upload(content="x" * 2000)]},
        {"attachments": [upload(content="aGk")]},
        {"attachments": [upload(content="aGk=\n")]},
        {"attachments": [upload(content="aGk==")]},
        {"attachments": [upload(content="aGl=")]},
        {"attachments": [upload(content="ä")]},
        {"attachments": [upload(filename="")]},
        {"attachments": [upload(filename="a/b")]},
        {"attachments": [upload(filename="a\r\nX: y")]},
        {"attachments": [upload(filename="x" * 256)]},
        {"attachments": [upload(content_type="text")]},
        {"attachments": [upload(content_type="text/plain; x=y")]},
        {"attachments": [upload(content_type="text/plain\r\nX: y")]},
        {"attachments": [upload(content_type="message/rfc822")]},
        {"attachments": [upload(content_type="multipart/mixed")]},
        {"attachments": [upload(content_id="logo")]},
        {"html": "<p>", "attachments": [upload(content_id="a b")]},
        {"html": "<p>", "attachments": [upload(content_id="a>\r\nX: y")]},
        {"html": "<p>", "attachments": [upload(content_id="a"), upload(content_id="<a>")]},
    ],
)
def test_a_message_with_a_bad_part_is_refused(change: dict[str, object]) -> None:
    parts: dict[str, object] = {"to": ["you@example.com"], "subject": "s", "text": "t", **change}
    with pytest.raises(Invalid):
        messages.compose(Draft(**parts), size_limit=1000)  # type: ignore[arg-type]
