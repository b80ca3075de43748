"""DNS that fails takes nothing back: what was verified stays known, and mail goes on."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from typing import Any

import pytest
from chaos import faults
from chaos.arena import Arena
from chaos.conftest import Trials
from labkit import Machine
from sqlmodel import select

from orchestrator import db
from orchestrator.conditions import Status, Type
from orchestrator.lab import topology
from orchestrator.models import Domain
from orchestrator.services import conditions

pytestmark = pytest.mark.lab

DOMAIN = "acme-mail.net"
VERIFIED = (Type.OWNERSHIP_PROVEN, Type.MX_OK, Type.SPF_OK, Type.DKIM_OK, Type.DMARC_OK)

Fault = Callable[[], AbstractContextManager[None]]


@pytest.fixture(params=["SERVFAIL", "time-out", "lame delegation"])
def fault(request: pytest.FixtureRequest, lab: dict[str, Any]) -> tuple[str, Fault]:
    """What it is called, and what makes it."""
    servers = Machine(lab["hosts"][0]["container"].replace(lab["hosts"][0]["name"], "ns1"))
    dns = topology.load().dns
    all_of_them = (dns.resolver, dns.resolver6, dns.authoritative, dns.authoritative6)
    made: dict[str, Fault] = {
        "SERVFAIL": partial(faults.servfail, servers, DOMAIN),
        "time-out": partial(faults.lost, [str(address) for address in all_of_them], 53),
        "lame delegation": partial(faults.lame, servers, DOMAIN),
    }
    return request.param, made[request.param]


def look(arena: Arena) -> dict[Type, tuple[Status, Status | None]]:
    """Look at the domain's records: what is seen, and what is known."""
    with db.reading(arena.control.engine) as session:
        domain = session.exec(select(Domain).where(Domain.name == DOMAIN)).one()
    arena.control.proofs.check_domain(domain.id)
    with db.reading(arena.control.engine) as session:
        found = conditions.get_all(session, [domain.id])
    rows = {type_: found[domain.id, type_] for type_ in VERIFIED}
    return {type_: (row.status, row.known) for type_, row in rows.items()}


def test_dns_fails(trials: Trials, machine: Machine, fault: tuple[str, Fault]) -> None:
    name, failing = fault
    with trials(f"DNS: {name}", machine) as trial:
        assert look(trial.arena) == dict.fromkeys(VERIFIED, (Status.TRUE, Status.TRUE))
        trial.healthy(trial.settle)
        trial.spoil(1)
        with failing():
            seen = look(trial.arena)
            assert {known for _, known in seen.values()} == {Status.TRUE}
            # Records are asked for at the zone's own servers, so that a resolver may fail.
            assert {status for status, _ in seen.values()} <= {
                Status.UNKNOWN,
                *([Status.TRUE] if name == "SERVFAIL" else []),
            }
            assert trial.suffer(trial.settle).reason is None
        assert look(trial.arena) == dict.fromkeys(VERIFIED, (Status.TRUE, Status.TRUE))
