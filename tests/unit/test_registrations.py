"""Domains that are bought: from the order to the zone with its records, whatever breaks between."""

from datetime import UTC, datetime, timedelta

import eppkit
import msgspec
import pytest
from shopkit import NAME, SERVERS, Shop
from sqlmodel import select
from storekit import Store

from orchestrator import db
from orchestrator.conditions import Type
from orchestrator.errors import Away, Conflict, Invalid
from orchestrator.models import (
    Domain,
    RegistrationState,
    utcnow,
)
from orchestrator.services import conditions, registrations
from orchestrator.settings import RegistrarKind


def test_a_domain_is_bought_once_and_delegated_to_us(shop: Shop, registry: eppkit.Registry) -> None:
    shop.order()
    bought = shop.look()
    assert bought.state is RegistrationState.REGISTERED
    assert bought.expires_at is not None
    assert bought.expires_at.date() == registry.names[NAME].expires.date()
    assert bought.reference in registry.references
    assert tuple(registry.names[NAME].servers) == SERVERS
    shop.look()
    assert registry.seen.count("create") == 1
    assert registry.seen.count("renew") == 0
    assert shop.status() == "pending"  # until its records are seen in DNS


def test_an_answer_that_was_lost_buys_no_second_time(shop: Shop, registry: eppkit.Registry) -> None:
    shop.order()
    registry.lose_answer = True
    first = shop.look()
    assert (first.state, first.failures) == (RegistrationState.REQUESTED, 1)
    assert "broke" in first.reason or "closed" in first.reason
    assert shop.look().state is RegistrationState.REGISTERED
    assert registry.seen.count("create") == 1


def test_a_registry_that_takes_its_time_is_waited_for(
    shop: Shop, registry: eppkit.Registry
) -> None:
    registry.asynchronous = True
    shop.order()
    assert shop.look().state is RegistrationState.REGISTERING
    assert shop.look().state is RegistrationState.REGISTERING
    registry.decide(NAME, granted=True)
    assert shop.look().state is RegistrationState.REGISTERED
    assert registry.seen.count("create") == 1
    assert registry.queue == []


def test_a_registry_that_says_no_at_last_ends_it(shop: Shop, registry: eppkit.Registry) -> None:
    registry.asynchronous = True
    shop.order()
    shop.look()
    # The name is gone before its message comes: it must not be bought again.
    held = registry.names.pop(NAME)
    assert shop.look().state is RegistrationState.REGISTERING
    registry.names[NAME] = held
    registry.decide(NAME, granted=False)
    ended = shop.look()
    assert (ended.state, ended.reason) == (RegistrationState.FAILED, "refused by policy")
    assert shop.status() == "failed"
    assert registry.seen.count("create") == 1


@pytest.mark.parametrize("code", [2302, 2308])
def test_a_refusal_fails_the_domain_with_the_registrys_words(
    shop: Shop, registry: eppkit.Registry, code: int
) -> None:
    shop.order()
    registry.failures["create"] = [code]
    ended = shop.look()
    assert ended.state is RegistrationState.FAILED
    assert eppkit.WORDS[code] in ended.reason
    assert shop.status() == "failed"
    shop.delete()
    shop.order()
    assert shop.look().state is RegistrationState.REGISTERED


@pytest.mark.parametrize("code", [2104, 2400, 2502])
def test_what_may_work_later_is_tried_again(
    shop: Shop, registry: eppkit.Registry, code: int
) -> None:
    shop.order()
    registry.failures["create"] = [code]
    assert shop.look().state is RegistrationState.REQUESTED
    assert shop.look().state is RegistrationState.REGISTERED


def test_somebody_was_faster(shop: Shop, registry: eppkit.Registry) -> None:
    shop.order()
    registry.hold(NAME, owner="rival")
    ended = shop.look()
    assert ended.state is RegistrationState.FAILED and "somebody else" in ended.reason


def test_a_name_of_our_own_account_is_not_given_away(shop: Shop, registry: eppkit.Registry) -> None:
    shop.order()
    registry.hold(NAME, created=datetime.now(UTC) - timedelta(days=400))
    assert shop.look().state is RegistrationState.FAILED


def test_what_can_not_be_bought_is_refused_at_once(shop: Shop, registry: eppkit.Registry) -> None:
    registry.hold(NAME, owner="rival")
    with pytest.raises(Conflict, match="registered already"):
        shop.order()
    registry.names.clear()
    shop.order()
    rival = shop.store.workspace("rival")
    shop.store.assign(rival)
    with pytest.raises(Conflict):
        shop.order(workspace=rival)
    shop.store.settings = msgspec.structs.replace(shop.store.settings, epp_port=1)
    with pytest.raises(Away):
        shop.order("other-tenant.net")


def test_a_deleted_domain_is_not_bought_but_what_is_bought_stays_its_tenants(
    shop: Shop, registry: eppkit.Registry
) -> None:
    shop.order()
    shop.delete()
    assert shop.look().state is RegistrationState.FAILED
    assert registry.names == {}
    shop.order()
    shop.look()
    shop.delete()
    assert shop.look().state is RegistrationState.REGISTERED
    shop.order()  # the registry says that it is taken: by us
    assert shop.look().state is RegistrationState.REGISTERED
    assert registry.seen.count("create") == 1


def test_a_domain_is_renewed_ahead_of_its_end_while_it_is_wanted(
    shop: Shop, registry: eppkit.Registry
) -> None:
    shop.order()
    shop.look()
    held = registry.names[NAME]
    held.expires = datetime.now(UTC) + timedelta(days=20)
    renewed = shop.look().expires_at
    assert renewed is not None and renewed > utcnow() + timedelta(days=300)
    shop.look()
    assert registry.seen.count("renew") == 1
    shop.delete()
    held.expires = datetime.now(UTC) + timedelta(days=20)
    shop.look()
    assert registry.seen.count("renew") == 1
    held.expires = datetime.now(UTC) - timedelta(days=1)
    assert shop.look().state is RegistrationState.FAILED


def test_name_servers_that_somebody_changed_are_set_right(
    shop: Shop, registry: eppkit.Registry
) -> None:
    shop.order()
    shop.look()
    registry.names[NAME].servers = ["ns.elsewhere.net"]
    shop.look()
    assert sorted(registry.names[NAME].servers) == sorted(SERVERS)


def test_by_hand_the_operator_decides(shop: Shop) -> None:
    settings = shop.store.settings
    shop.store.settings = msgspec.structs.replace(settings, registrar=RegistrarKind.MANUAL)
    shop.order()
    assert shop.look().state is RegistrationState.REGISTERING
    with db.writing(shop.store.engine) as session:
        with pytest.raises(Invalid):
            registrations.done_by_hand(session, NAME, utcnow() - timedelta(days=1))
        registrations.done_by_hand(session, NAME, utcnow() + timedelta(days=365))
        with pytest.raises(Conflict):
            registrations.failed_by_hand(session, NAME, "no")
    assert shop.look().state is RegistrationState.REGISTERED
    shop.order("second.net")
    with db.writing(shop.store.engine) as session:
        registrations.failed_by_hand(session, "second.net", "too dear")
        listed = registrations.list_(session)
    assert [(row.name, str(row.state), row.workspace) for row in listed] == [
        (NAME, "registered", "acme"),
        ("second.net", "failed", "acme"),
    ]


def test_without_a_registrar_nothing_is_bought(store: Store) -> None:
    shop = Shop(store)
    with pytest.raises(Invalid, match="not offered"):
        shop.order()


def test_a_delegation_that_is_refused_is_told_and_tried_again(
    shop: Shop, registry: eppkit.Registry
) -> None:
    shop.order()
    shop.look()
    registry.names[NAME].servers = ["ns.elsewhere.net"]
    registry.failures["update"] = [2303]
    waiting = shop.look()
    assert (waiting.state, waiting.failures) == (RegistrationState.REGISTERED, 1)
    assert "2303" in waiting.reason
    assert shop.look().reason == ""


def test_conditions_tell_how_far_it_is(shop: Shop, registry: eppkit.Registry) -> None:
    registry.asynchronous = True
    shop.order()
    shop.look()
    with db.reading(shop.store.engine) as session:
        domain = session.exec(select(Domain).where(Domain.name == NAME)).one()
        seen = conditions.get_all(session, [domain.id])[domain.id, Type.REGISTERED]
    assert (str(seen.status), seen.message) == ("Unknown", "the registrar is at it")
