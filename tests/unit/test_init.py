"""`mailfleet init`: from settings alone to an installation that can start."""

import json
import stat
import subprocess
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from databases import KINDS, PostgreSQL

from orchestrator import db
from orchestrator.cli import mailfleet
from orchestrator.cli.app import App
from orchestrator.issuers.authority import Authority
from orchestrator.secrets import Vault
from orchestrator.services import hosts

FILES = ("master.key", "ca.key", "ca.pem", "id_ed25519", "id_ed25519.pub", "operator.token")
HOST_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"


@pytest.fixture(params=KINDS)
def directory(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Holds settings, and nothing else; the database is empty."""
    url = f"sqlite:///{tmp_path}/mailfleet.db"
    if request.param == "postgresql":
        server: PostgreSQL = request.getfixturevalue("postgresql")
        url = server.empty()
    config = [
        f'database_url = "{url}"',
        'master_key_file = "master.key"',
        'ssh_key_file = "id_ed25519"',
        'ca_file = "ca.pem"',
        'ca_key_file = "ca.key"',
        'operator_token_file = "operator.token"',
        'fleet_domain = "fleet.net"',
        'probe_domain = "probe.fleet.net"',
    ]
    (tmp_path / "mailfleet.toml").write_text("\n".join(config) + "\n")
    return tmp_path


def run(directory: Path, *argv: str) -> Result:
    app = App(directory / "mailfleet.toml")
    return CliRunner(env={"MAILFLEET_CONFIG": None}).invoke(mailfleet, argv, obj=app)


def init(directory: Path) -> Any:
    done = run(directory, "init", "--json")
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def contents(directory: Path) -> dict[str, bytes]:
    return {name: (directory / name).read_bytes() for name in FILES}


def test_everything_is_made_and_can_be_used(directory: Path) -> None:
    made = init(directory)
    assert all(part["made"] for part in made["parts"])
    app = App(directory / "mailfleet.toml")
    vault = Vault(directory / "master.key")
    with db.writing(app.engine) as session:
        hosts.add(
            session,
            vault,
            name="mx1",
            hostname="mx1.fleet.net",
            address="198.51.100.11",
            host_key=HOST_KEY,
        )
    app.engine.dispose()
    issued = Authority(directory / "ca.pem", directory / "ca.key").issue(["mx1.fleet.net"])
    (directory / "leaf.pem").write_text(issued.chain)
    checks = [
        ["openssl", "verify", "-x509_strict", "-CAfile", "ca.pem", "leaf.pem"],
        ["ssh-keygen", "-y", "-f", "id_ed25519"],
    ]
    done = [
        subprocess.run(check, cwd=directory, capture_output=True, text=True, check=True)
        for check in checks
    ]
    assert made["ssh_public_key"].startswith(done[1].stdout.strip())
    assert (directory / "id_ed25519.pub").read_text().strip() == made["ssh_public_key"]
    assert (app.settings.operator_token() or "").isascii()


def test_only_the_owner_reads_it(directory: Path) -> None:
    init(directory)
    modes = {name: stat.S_IMODE((directory / name).stat().st_mode) for name in FILES}
    assert modes == dict.fromkeys(FILES, 0o600)
    assert not [path.name for path in directory.iterdir() if path.name.startswith(".")]


def test_what_is_there_is_kept(directory: Path) -> None:
    first = init(directory)
    before = contents(directory)
    again = init(directory)
    assert not any(part["made"] for part in again["parts"])
    assert again["ssh_public_key"] == first["ssh_public_key"]
    assert contents(directory) == before


@pytest.mark.parametrize("missing", ["ca.pem", "id_ed25519.pub", "operator.token", "master.key"])
def test_what_is_missing_is_made_anew(directory: Path, missing: str) -> None:
    init(directory)
    before = contents(directory)
    (directory / missing).unlink()
    parts = init(directory)["parts"]
    assert [Path(part["where"]).name for part in parts if part["made"]] == [missing]
    after = contents(directory)
    assert {name for name in before if before[name] != after[name]} <= {missing}
    Authority(directory / "ca.pem", directory / "ca.key").issue(["mx1.fleet.net"])


def test_a_lost_master_key_is_not_replaced(directory: Path) -> None:
    init(directory)
    app = App(directory / "mailfleet.toml")
    with db.writing(app.engine) as session:
        hosts.add(
            session,
            app.vault,
            name="mx1",
            hostname="mx1.fleet.net",
            address="198.51.100.11",
            host_key=HOST_KEY,
        )
    app.engine.dispose()
    (directory / "master.key").unlink()
    done = run(directory, "init")
    assert done.exit_code == 1
    assert "put it back" in done.stderr
    assert not (directory / "master.key").exists()


def test_half_an_authority_is_not_completed(directory: Path) -> None:
    init(directory)
    (directory / "ca.key").unlink()
    done = run(directory, "init")
    assert (done.exit_code, "ca.key" in done.stderr) == (1, True)
    assert not (directory / "ca.key").exists()


@pytest.mark.parametrize("name", ["ca.key", "ca.pem", "id_ed25519", "operator.token"])
def test_what_cannot_be_used_is_said(directory: Path, name: str) -> None:
    init(directory)
    (directory / name).write_text("nonsense\n")
    if name == "id_ed25519":
        (directory / "id_ed25519.pub").unlink()
    done = run(directory, "init")
    assert done.exit_code == 1
    assert done.stderr.startswith("error: ")
    assert (directory / name).read_text() == "nonsense\n"


def test_a_directory_that_is_missing_is_said(directory: Path) -> None:
    config = directory / "mailfleet.toml"
    config.write_text(config.read_text().replace('"id_', '"keys/id_'))
    done = run(directory, "init")
    assert done.exit_code == 1
    assert f"can't write {directory}/keys/id_ed25519: No such file" in done.stderr


def test_people_are_told_what_comes_next(directory: Path) -> None:
    config = directory / "mailfleet.toml"
    text = config.read_text().replace("probe.fleet.net", "probe.fleet.invalid")
    config.write_text(text.replace("//postgres@", "//postgres:s3cret@"))
    told = run(directory, "init").stdout
    assert (directory / "id_ed25519.pub").read_text().strip() in told
    assert "1. Choose probe_domain in the settings." in told
    assert "s3cret" not in told


def test_the_database_alone_is_brought_to_this_version(directory: Path) -> None:
    schema = max(file.name for file in db.MIGRATIONS.glob("versions/0*.py"))[:4]
    for what in ("was brought to", "is of"):
        told = run(directory, "db", "upgrade").stdout
        assert told == f"the database {what} this version, which is schema {schema}\n"
    assert [path.name for path in directory.glob("*.key")] == []
