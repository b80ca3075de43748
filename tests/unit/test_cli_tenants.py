"""The commands for keys and orders, on the database of a store."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from storekit import Store

from orchestrator import db
from orchestrator.cli import mailfleet
from orchestrator.cli.app import App
from orchestrator.models import Bucket, utcnow
from orchestrator.services import keys


@pytest.fixture
def run(store: Store, tmp_path: Path) -> Callable[..., tuple[int, str]]:
    """A command; gives its exit code and what it printed."""
    config = tmp_path / "mailfleet.toml"
    config.write_text(
        f'database_url = "{store.settings.database_url}"\n'
        f'master_key_file = "{store.settings.master_key_file}"\n'
        'fleet_domain = "fleetlab.net"\n'
    )

    def call(*argv: str) -> tuple[int, str]:
        app = App(config)
        result = CliRunner(env={"MAILFLEET_CONFIG": None}).invoke(mailfleet, argv, obj=app)
        app.engine.dispose()
        return result.exit_code, result.output

    return call


Run = Callable[..., tuple[int, str]]


def _rows(run: Run, *argv: str) -> Any:
    return json.loads(run(*argv, "--json")[1])


def test_a_key_with_all_its_limits(store: Store, run: Run) -> None:
    owner = store.workspace()
    store.pool(store.host(), "198.51.100.21")
    store.assign(owner)
    store.domain(owner)
    store.mailboxes(owner, "alice@acme.com")
    limits = ["--scope=send", "--mailbox=alice@acme.com", "--expires=90d", "--name=shop"]
    limits += ["--allow=198.51.100.0/24", "--allow=2001:db8::1", "--rate=send=600/100"]
    code, token = run("keys", "create", "--workspace", "acme", *limits)
    assert code == 0
    with db.reading(store.engine) as session:
        _, key = keys.authenticate(session, token.strip(), utcnow())
    assert key.expires_at is not None and (key.expires_at - utcnow()).days == 89
    assert key.rates == {Bucket.SEND: "600/100"}
    (row,) = _rows(run, "keys", "list", "--workspace", "acme")
    assert token.strip() not in json.dumps(row)
    assert token.startswith("adbtd_live_" + row["begins"]) and len(row["begins"]) == 8
    assert (row["scope"], row["mailbox"]) == ("send", "alice@acme.com")
    assert row["networks"] == "198.51.100.0/24, 2001:db8::1/128"
    assert (row["rates"], row["used"], row["revoked"]) == ("send=600/100", None, None)
    assert run("keys", "revoke", row["id"], "--workspace", "acme")[0] == 0
    assert _rows(run, "keys", "list", "--workspace", "acme")[0]["revoked"] is not None


@pytest.mark.parametrize(
    ("option", "code"),
    [
        ("--scope=admin", 64),
        ("--expires=soon", 64),
        ("--expires=0d", 64),
        ("--rate=mend=1/1", 64),
        ("--rate=send=fast", 1),
        ("--allow=198.51.100.7/24", 1),
        ("--mailbox=nobody@acme.com", 1),
    ],
)
def test_a_key_that_can_not_be(store: Store, run: Run, option: str, code: int) -> None:
    store.workspace()
    assert run("keys", "create", "--workspace", "acme", option)[0] == code
    assert _rows(run, "keys", "list", "--workspace", "acme") == []


def test_a_first_order(store: Store, run: Run) -> None:
    store.workspace()
    store.pool(store.host(), "198.51.100.21")
    what = ["--domain", "acme.com", "--mailbox", "alice@acme.com", "--mailbox", "bob@acme.com"]
    assert run("orders", "create", "--workspace", "acme", "--ips", "2", *what)[0] == 1
    assert _rows(run, "orders", "list", "--workspace", "acme") == []
    assert run("orders", "create", "--workspace", "acme", *what)[0] == 0
    rows = _rows(run, "orders", "list", "--workspace", "acme")
    assert [row["what"] for row in rows] == [
        "alice@acme.com, bob@acme.com",
        "acme.com",
        "198.51.100.21",
    ]
    assert _rows(run, "orders", "show", rows[1]["id"], "--workspace", "acme") == [rows[1]]
    assert rows[1]["reason"] == "waiting for the TXT record _mailfleet.acme.com in DNS"
    store.workspace("other")
    assert run("orders", "show", rows[1]["id"], "--workspace", "other")[0] == 1
