"""What all tests share: the lab that `make up` brought up."""

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from labkit import MAILBOXES, ROOT, Machine, Operator, Tenant, mint_key

pytest_plugins = ["databases", "stripekit", "shopkit"]

LAB_JSON = ROOT / ".lab" / "lab.json"


@pytest.fixture(scope="session")
def lab() -> dict[str, Any]:
    """`.lab/lab.json`, with its paths made absolute. Without a lab the test fails: no skip."""
    if not LAB_JSON.exists():
        pytest.fail("the lab is not up: run `make up`")
    described: dict[str, Any] = json.loads(LAB_JSON.read_text())
    for name in ("ca", "ssh_key", "known_hosts"):
        described[name] = str(ROOT / described[name])
    return described


@pytest.fixture(scope="session")
def operator(lab: dict[str, Any]) -> Operator:
    """The operator of the lab's own control plane."""
    return Operator(ROOT / ".lab" / "mailfleet.toml")


@pytest.fixture(scope="session")
def machines(lab: dict[str, Any]) -> dict[str, Machine]:
    """The mail hosts by name: mx1 (Debian 12) and mx2 (Debian 13)."""
    return {row["name"]: Machine(row["container"], row) for row in lab["hosts"]}


@pytest.fixture(params=["mx1", "mx2"])
def machine(request: pytest.FixtureRequest, machines: dict[str, Machine]) -> Machine:
    """Each mail host in turn: both Debian versions."""
    return machines[request.param]


@pytest.fixture(scope="session")
def tenant(lab: dict[str, Any], operator: Operator) -> Iterator[Tenant]:
    """The demonstration workspace, through the API, with a key of our own."""
    token = mint_key(operator, "acme")
    with httpx.Client(
        base_url=f"{lab['api']}/api/v1", headers={"Authorization": f"Bearer {token}"}, timeout=60
    ) as client:
        yield Tenant(client)


@pytest.fixture
def email(machine: Machine) -> str:
    """The demonstration workspace's mailbox on the host."""
    return MAILBOXES[machine.name]


@pytest.fixture
def server(tenant: Tenant, email: str) -> str:
    """The dedicated IP that the mailbox is served at."""
    return str(tenant.mailbox(email)["smtpHost"])
