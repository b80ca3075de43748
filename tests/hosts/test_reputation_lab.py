"""The pool on the lab: a range comes in, one of it is listed on ns1, and comes back."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from blocklistkit import Blocklist
from labkit import Machine, Operator, Tenant, wait_for

pytestmark = pytest.mark.lab

#: Addresses of the lab's network that no machine has.
IPS = [f"198.51.100.{number}" for number in range(240, 244)]


@pytest.fixture
def blocklist(lab: dict[str, Any]) -> Blocklist:
    return Blocklist(lab)


@pytest.fixture
def carried(machines: dict[str, Machine], operator: Operator) -> Iterator[list[str]]:
    """The addresses are on mx1's interface, and in nobody's pool before and after."""
    machine = machines["mx1"]
    device = machine.sh("ip -o -4 address show to 198.51.100.11").split()[1]
    for ip in IPS:
        machine.sh(f"ip address replace {ip}/24 dev {device}")
    try:
        yield IPS
    finally:
        for ip in IPS:
            operator.run("mailfleet", "addresses", "remove", ip)
        operator.run("reconcile", "apply", "--host", "mx1", "--yes")
        for ip in IPS:
            machine.sh(f"ip address del {ip}/24 dev {device}")


def _state(operator: Operator, ip: str) -> str:
    rows = operator.json("mailfleet", "addresses", "list")
    return next(str(row["state"]) for row in rows if row["ip"] == ip)


def test_a_range_comes_in_and_a_listing_takes_one_out(
    operator: Operator, carried: list[str], blocklist: Blocklist
) -> None:
    listed, clean = carried[1], [ip for ip in carried if ip != carried[1]]
    blocklist.change(listed, listed=True)
    try:
        done = operator.run(
            *("mailfleet", "addresses", "add", "198.51.100.240-243", "--host", "mx1"),
            *("--ptr", "out-{ip}.fleetlab.net", "--timeout", "120", "--json"),
        )
        assert done.returncode == 1, done.stderr
        rows = {row["ip"]: row for row in json.loads(done.stdout)}
        assert {ip: row["state"] for ip, row in rows.items()} == {
            **dict.fromkeys(clean, "free"),
            listed: "quarantined",
        }
        assert "sent to a trap" in rows[listed]["reason"]
        assert rows[listed]["name"] == "out-198-51-100-241.fleetlab.net"
    finally:
        blocklist.change(listed, listed=False)
    wait_for("the end of the quarantine", lambda: _state(operator, listed) == "free", 60)
    told = [row["event"] for row in operator.json("mailfleet", "addresses", "history", listed)]
    wanted = ["added", "ptr_seen", "listed", "quarantined", "delisted", "unquarantined", "checked"]
    assert told[-len(wanted) :] == wanted
    operator.ok("mailfleet", "addresses", "check", listed)


def test_a_tenants_address_that_is_listed_serves_on_and_is_told_of(
    operator: Operator, tenant: Tenant, blocklist: Blocklist
) -> None:
    address = tenant.data("GET", "/ips")[0]["address"]

    def flags() -> Any:
        rows = tenant.data("GET", "/ips")
        return next(row["reputationFlags"] for row in rows if row["address"] == address)

    blocklist.change(address, listed=True)
    try:
        wait_for("the listing", lambda: flags() == [blocklist.zone], 60)
        assert _state(operator, address) == "assigned"
        lines = operator.json("reconcile", "status", "--all")
        (line,) = (
            row for row in lines if row["subject"] == address and row["condition"] == "NotListed"
        )
        assert (line["status"], line["reason"]) == ("False", "Listed")
    finally:
        blocklist.change(address, listed=False)
    wait_for("the end of the listing", lambda: flags() is None, 60)
