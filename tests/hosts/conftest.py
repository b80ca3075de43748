"""What tests of the lab's hosts share."""

import ssl
from collections.abc import Iterator
from typing import Any

import pytest
from labkit import Machine, Operator
from mtakit import DOMAIN, SECOND, Client, Login, Mta, cluster_of, known
from sqlalchemy import Engine

from orchestrator import db, settings


@pytest.fixture(scope="module")
def engine(operator: Operator) -> Iterator[Engine]:
    """The lab's database: what lasts a moment only is not missed."""
    engine = db.connect(settings.load(operator.config, {}).database_url)
    yield engine
    engine.dispose()


@pytest.fixture(scope="module")
def client(lab: dict[str, Any], engine: Engine) -> Iterator[Client]:
    with cluster_of(lab, engine) as client:
        client.domain(DOMAIN)
        client.domain(SECOND)
        yield client


@pytest.fixture(scope="module")
def wide(client: Client, machines: dict[str, Machine]) -> Login:
    """A credential for all domains, which both hosts know."""
    login = client.credential()
    for machine in machines.values():
        known(machine, login)
    return login


@pytest.fixture(scope="module")
def narrow(client: Client, machines: dict[str, Machine]) -> Login:
    """One for a single domain."""
    login = client.credential(domains=[DOMAIN])
    for machine in machines.values():
        known(machine, login)
    return login


@pytest.fixture(scope="module")
def mtas(lab: dict[str, Any], machines: dict[str, Machine]) -> dict[str, Mta]:
    tls = ssl.create_default_context(cafile=lab["ca"])
    found = {}
    for name, machine in machines.items():
        first, _, sixth = machine.described["dedicated_ips"]
        found[name] = Mta(machine, first, sixth, tls, lab["world"]["mailbox"])
    return found


@pytest.fixture
def mta(machine: Machine, mtas: dict[str, Mta]) -> Mta:
    return mtas[machine.name]
