"""Users of the dashboard: who they are, and their passwords."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from sqlmodel import select
from storekit import Store

from orchestrator import db
from orchestrator.cli import mailfleet
from orchestrator.cli.app import App
from orchestrator.errors import Conflict, Invalid, NotFound, Unauthorized
from orchestrator.models import User, Workspace, utcnow
from orchestrator.services import keys, users

PASSWORD = "correct horse battery"


@pytest.fixture
def ann(store: Store) -> User:
    hashed = users.hash_password(PASSWORD)
    acme = store.workspace()
    with db.writing(store.engine) as session:
        return users.add(session, acme, email="Ann@Acme.com", name="Ann", password_hash=hashed)


def test_who_knows_the_password_signs_in(store: Store, ann: User) -> None:
    with db.reading(store.engine) as session:
        for email in ("ann@acme.com", " ANN@acme.COM"):
            assert users.authenticate(session, email, PASSWORD).id == ann.id
        for email, password in (
            ("ann@acme.com", ""),
            ("ann@acme.com", PASSWORD.upper()),
            ("ann@acme.com", PASSWORD + "x" * 10_000),
            ("bob@acme.com", PASSWORD),
            ("bob@acme.com", "nobody has this password"),
            ("", ""),
        ):
            with pytest.raises(Unauthorized, match="don't go together"):
                users.authenticate(session, email, password)


def test_the_password_is_not_stored(store: Store, ann: User) -> None:
    with db.reading(store.engine) as session:
        row = session.exec(select(User)).one()
    assert row.password_hash.startswith("$scrypt$ln=15,r=8,p=3$")
    assert PASSWORD not in repr(row)


def test_another_password_ends_the_first(store: Store, ann: User) -> None:
    hashed = users.hash_password("another one that is long")
    with db.writing(store.engine) as session:
        users.set_password(session, users.get(session, "ann@acme.com"), hashed)
    with db.reading(store.engine) as session:
        users.authenticate(session, "ann@acme.com", "another one that is long")
        with pytest.raises(Unauthorized):
            users.authenticate(session, "ann@acme.com", PASSWORD)


def test_an_address_is_one_users(store: Store, ann: User) -> None:
    other = store.workspace("other")
    with pytest.raises(Conflict, match=r"ann@acme\.com"), db.writing(store.engine) as session:
        users.add(session, other, email="ann@acme.com", name="Ann", password_hash="x")
    with db.writing(store.engine) as session:
        users.remove(session, users.get(session, "ann@acme.com"))
        users.add(session, other, email="ann@acme.com", name="Ann", password_hash="x")
        assert [user.workspace_id for user in users.list_(session)] == [other.id]
    with db.reading(store.engine) as session, pytest.raises(NotFound):
        users.get(session, "bob@acme.com")


@pytest.mark.parametrize(
    ("email", "name"), [("ann", "Ann"), ("", "Ann"), ("a@b", "Ann"), ("a@acme.com", "")]
)
def test_who_can_not_be_a_user(store: Store, email: str, name: str) -> None:
    acme = store.workspace()
    with pytest.raises(Invalid), db.writing(store.engine) as session:
        users.add(session, acme, email=email, name=name, password_hash="x")


@pytest.mark.parametrize("password", ["", "x" * 14, "x" * 201])
def test_a_password_has_a_length(password: str) -> None:
    with pytest.raises(Invalid, match="15 to 200"):
        users.hash_password(password)


@pytest.fixture
def run(store: Store, tmp_path: Path) -> Callable[..., Result]:
    """The command, on the store's database."""
    config = tmp_path / "mailfleet.toml"
    config.write_text(f'database_url = "{store.settings.database_url}"\n')

    def call(*argv: str, typed: str = "") -> Result:
        app = App(config)
        result = CliRunner(env={"MAILFLEET_CONFIG": None}).invoke(
            mailfleet, argv, input=typed, obj=app
        )
        app.engine.dispose()
        return result

    return call


def test_the_command(store: Store, run: Callable[..., Result]) -> None:
    store.workspace()
    who = ("ann@acme.com", "--workspace", "acme", "--name", "Ann")
    made = run("users", "add", *who, "--generate")
    assert made.exit_code == 0
    with db.reading(store.engine) as session:
        users.authenticate(session, "ann@acme.com", made.output.strip())
    shown = run("users", "list", "--json")
    assert "ann@acme.com" in shown.output and "scrypt" not in shown.output
    typed = run("users", "password", "ann@acme.com", typed=f"{PASSWORD}\n{PASSWORD}\n")
    assert typed.exit_code == 0 and PASSWORD not in typed.output
    with db.reading(store.engine) as session:
        users.authenticate(session, "ann@acme.com", PASSWORD)
    assert run("users", "password", "ann@acme.com", typed="short\nshort\n").exit_code == 1
    assert run("users", "remove", "ann@acme.com").exit_code == 0
    assert run("users", "remove", "ann@acme.com").exit_code == 1


def test_a_token_is_the_only_one(store: Store, ann: User, run: Callable[..., Result]) -> None:
    def listed() -> str | None:
        (row,) = json.loads(run("users", "list", "--json").output)
        hint: str | None = row["token"]
        return hint

    def owner(token: str) -> Workspace:
        with db.reading(store.engine) as session:
            return keys.authenticate(session, token, utcnow(), keys.USER_PREFIX)[0]

    assert listed() is None
    first = run("users", "token", "Ann@acme.com").output.strip()
    assert owner(first).id == ann.workspace_id
    second = run("users", "token", "ann@acme.com").output.strip()
    assert owner(second).id == ann.workspace_id
    assert second.startswith(f"unmta_live_{listed()}") and len(listed() or "") == 8
    assert second not in run("users", "list", "--json").output
    with pytest.raises(Unauthorized):
        owner(first)
    assert json.loads(run("keys", "list", "--workspace", "acme", "--json").output) == []
    assert "has ended" in run("users", "token", "ann@acme.com", "--revoke").output
    assert "has no token" in run("users", "token", "ann@acme.com", "--revoke").output
    assert listed() is None
    with pytest.raises(Unauthorized):
        owner(second)
    third = run("users", "token", "ann@acme.com").output.strip()
    assert run("users", "remove", "ann@acme.com").exit_code == 0
    with pytest.raises(Unauthorized):
        owner(third)
    for option in ([], ["--revoke"]):
        assert run("users", "token", "ann@acme.com", *option).exit_code == 1
