"""``mailfleet addresses`` as an operator uses it, without a reconciler."""

import json
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest
from labkit import Operator
from storekit import Store

from orchestrator import db
from orchestrator.models import Address, AddressState
from orchestrator.services import addresses

Run = Callable[..., CompletedProcess[str]]


@pytest.fixture
def run(store: Store, tmp_path: Path) -> Run:
    """Runs a command on the store's database; DNS is asked of nobody."""
    config = tmp_path / "mailfleet.toml"
    lines = [f'database_url = "{store.settings.database_url}"', 'resolvers = ["127.0.0.1"]']
    lines += [f'master_key_file = "{store.settings.master_key_file}"', "dns_timeout = 0.1"]
    config.write_text("\n".join(lines) + "\n")
    return lambda *words: Operator(config).run("mailfleet", *words)


def test_a_range_comes_in_and_is_waited_for(store: Store, run: Run) -> None:
    store.host()
    added = ("addresses", "add", "198.51.100.21-22", "198.51.100.32/31", "--host", "mx1")
    named = ("--ptr", "out-{ip}.fleet.net")
    done = run(*added, *named, "--timeout", "0", "--json")
    assert done.returncode == 1
    rows = json.loads(done.stdout)
    assert [row["ip"][-2:] for row in rows] == ["21", "22", "32", "33"]
    assert {row["state"] for row in rows} == {"new"}
    assert rows[0]["name"] == "out-198-51-100-21.fleet.net"
    again = run(*added, *named, "--no-wait")
    assert again.returncode == 1 and "is in the pool already" in again.stderr


def test_one_line_tells_of_each(store: Store, run: Run) -> None:
    store.host()
    name = ("--ptr", "{ip}.fleet.net")
    done = run("addresses", "add", "198.51.100.21-22", "--host", "mx1", *name, "--no-wait")
    assert (done.returncode, done.stdout.splitlines()) == (
        0,
        [
            "198.51.100.21 (198-51-100-21.fleet.net) is new",
            "198.51.100.22 (198-51-100-22.fleet.net) is new",
        ],
    )
    refused = run("addresses", "add", "198.51.100.0/8", "--host", "mx1", *name)
    assert refused.returncode == 1 and "198.51.100.0/8" in refused.stderr


def test_without_dns_nothing_is_brought_in(store: Store, run: Run) -> None:
    store.host()
    done = run("addresses", "add", "198.51.100.21", "--host", "mx1", "--no-wait")
    assert done.returncode == 1 and "PTR of 198.51.100.21" in done.stderr
    with db.reading(store.engine) as session:
        assert addresses.list_(session) == []


def test_into_quarantine_and_out_again(store: Store, run: Run) -> None:
    (address,) = store.pool(store.host(), "198.51.100.21")
    assert run("addresses", "quarantine", address.ip, "--reason", "abuse").returncode == 0
    assert run("addresses", "release-quarantine", address.ip).returncode == 0
    assert run("addresses", "release-quarantine", address.ip).returncode == 1
    with db.reading(store.engine) as session:
        assert session.get_one(Address, address.id).state is AddressState.NEW
    told = json.loads(run("addresses", "history", address.ip, "--json").stdout)
    assert [row["event"] for row in told] == ["added", "quarantined", "unquarantined"]
    assert told[1]["detail"] == "abuse"
    assert run("addresses", "remove", address.ip).returncode == 0
    assert run("addresses", "remove", address.ip).returncode == 1
    told = json.loads(run("addresses", "history", address.ip, "--json").stdout)
    assert told[-1]["event"] == "removed"
    assert run("addresses", "history", "198.51.100.99").returncode == 1


def test_a_check_that_can_tell_nothing_fails_and_changes_nothing(store: Store, run: Run) -> None:
    (address,) = store.pool(store.host(), "198.51.100.21")
    done = run("addresses", "check", address.ip, "--json")
    assert done.returncode == 1
    seen = {row["condition"]: row["status"] for row in json.loads(done.stdout)}
    assert seen == {"PtrConfirmed": "Unknown", "NotListed": "True"}
    with db.reading(store.engine) as session:
        assert session.get_one(Address, address.id).state is AddressState.FREE
