"""A host that can't be reached, believed or used: a condition with a remedy, nothing changed."""

import sqlite3
import subprocess
from pathlib import Path
from typing import Any

import pytest
import sshkit
from labkit import ROOT, Machine, Operator

pytestmark = pytest.mark.lab

NAME = ("--hostname", "new.fleetlab.net")


@pytest.fixture
def machine(machines: dict[str, Machine]) -> Machine:
    """One is enough: what stops these passes comes before anything that knows the Debian."""
    return machines["mx2"]


@pytest.fixture
def other(lab: dict[str, Any], tmp_path: Path) -> Operator:
    """A second control plane with an empty database, on the lab's keys and DNS."""
    state = ROOT / ".lab"
    for name in ("id_ed25519", "ca.pem", "ca.key"):
        (tmp_path / name).write_bytes((state / name).read_bytes())
        (tmp_path / name).chmod(0o600)
    config = tmp_path / "mailfleet.toml"
    config.write_text(
        f'database_url = "sqlite:///{tmp_path}/mailfleet.db"\n'
        'master_key_file = "master.key"\nssh_key_file = "id_ed25519"\n'
        'known_hosts_file = "known_hosts"\nca_file = "ca.pem"\nca_key_file = "ca.key"\n'
        f'resolvers = ["{lab["resolver"]}"]\nfleet_domain = "fleetlab.net"\n'
        "allow_private_targets = true\nssh_connect_timeout = 3.0\n"
    )
    operator = Operator(config)
    operator.ok("mailfleet", "init")
    return operator


def sql(operator: Operator, statement: str, *values: str) -> None:
    with sqlite3.connect(operator.config.parent / "mailfleet.db") as connection:
        connection.execute(statement, values)
    connection.close()


def refused(operator: Operator) -> dict[str, str]:
    """What `reconcile apply` and `reconcile status` say of the only host."""
    done = operator.run("reconcile", "apply", "--yes")
    assert done.returncode == 1, done.stdout + done.stderr
    lines = operator.json("reconcile", "status")
    found = {line["condition"]: line["reason"] for line in lines if line["kind"] == "host"}
    assert found["Converged"] in done.stdout
    return found


def test_an_unreachable_host(other: Operator, machine: Machine) -> None:
    other.ok(
        "mailfleet", "hosts", "add", "x", *NAME, "--address", machine.described["address"], "--yes"
    )
    sql(other, "UPDATE host SET address = '198.51.100.250'")
    assert refused(other) == {
        "Reachable": "Unreachable",
        "Converged": "Unreachable",
        "CertificateValid": "NotYetChecked",
        "RecordsPublished": "NotYetChecked",
        "PtrConfirmed": "NotYetChecked",
    }


def test_a_host_that_does_not_know_our_key(other: Operator, machine: Machine) -> None:
    key = other.config.parent / "id_ed25519"
    key.unlink()
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    other.ok(
        "mailfleet", "hosts", "add", "x", *NAME, "--address", machine.described["address"], "--yes"
    )
    assert refused(other)["Reachable"] == "SshKeyRefused"


def test_a_host_whose_key_changed_is_not_talked_to(other: Operator, machine: Machine) -> None:
    other.ok(
        "mailfleet", "hosts", "add", "x", *NAME, "--address", machine.described["address"], "--yes"
    )
    with sshkit.serve("") as server:
        sql(other, "UPDATE host SET host_key = ?", server.host_key)
    assert refused(other)["Reachable"] == "HostKeyChanged"
    shown = other.run("mailfleet", "hosts", "exec", "x", "--", "true")
    assert shown.returncode == 1
    other.ok("mailfleet", "hosts", "rekey", "x", "--yes")
    assert other.json("reconcile", "plan")[0]["reason"] is None


def test_a_fingerprint_that_differs_is_not_enrolled(other: Operator, machine: Machine) -> None:
    done = other.run(
        *("mailfleet", "hosts", "add", "x", *NAME, "--address", machine.described["address"]),
        *("--fingerprint", "SHA256:AAAA"),
    )
    assert done.returncode == 1
    assert "not the fingerprint" in done.stderr
    assert other.json("mailfleet", "hosts", "list") == []


def test_enrolment_asks_before_it_believes_a_key(other: Operator, machine: Machine) -> None:
    arguments = ("mailfleet", "hosts", "add", "x", *NAME, "--address", machine.described["address"])
    assert other.run(*arguments, stdin="n\n").returncode == 130
    assert other.json("mailfleet", "hosts", "list") == []
    done = other.run(*arguments, stdin="y\n")
    assert done.returncode == 0, done.stderr
    assert "SHA256:" in done.stderr


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ("os\tubuntu24.04\nuser\t0\nend\n", "UnsupportedOs"),
        ("os\tdebian11\nuser\t0\nend\n", "UnsupportedOs"),
        ("os\tdebian13\nuser\t1000\nend\n", "PermissionDenied"),
        ("os\tdebian13\n", "TimedOut"),
    ],
)
def test_a_system_that_is_not_ours_to_manage(other: Operator, answer: str, reason: str) -> None:
    with sshkit.serve(answer) as server:
        address = ("--address", "127.0.0.1", "--ssh-port", str(server.port))
        other.ok("mailfleet", "hosts", "add", "x", *NAME, *address, "--yes")
        assert refused(other)["Converged"] == reason


def test_one_bad_host_leaves_the_others_alone(other: Operator, machine: Machine) -> None:
    address = machine.described["address"]
    other.ok("mailfleet", "hosts", "add", "good", *NAME, "--address", address, "--yes")
    other.ok(
        *("mailfleet", "hosts", "add", "bad", "--hostname", "bad.fleetlab.net"),
        *("--address", address, "--yes"),
    )
    sql(other, "UPDATE host SET address = '198.51.100.250' WHERE name = 'bad'")
    plans = {row["host"]: row for row in other.json("reconcile", "plan")}
    assert plans["bad"]["reason"] == "Unreachable"
    assert plans["bad"]["remedy"]
    assert plans["good"]["reason"] is None
    assert plans["good"]["changes"]


@pytest.mark.parametrize(
    ("name", "secret", "zone", "reason"),
    [
        ("mailfleet-lab", "d3Jvbmcgc2VjcmV0IHdyb25nIHNlY3JldA==", "fleetlab.net", "TsigRejected"),
        ("nobody", "d3Jvbmcgc2VjcmV0IHdyb25nIHNlY3JldA==", "fleetlab.net", "UpdateRefused"),
    ],
)
def test_a_zone_that_refuses_our_update(  # noqa: PLR0917
    other: Operator,
    lab: dict[str, Any],
    machine: Machine,
    tmp_path: Path,
    name: str,
    secret: str,
    zone: str,
    reason: str,
) -> None:
    (tmp_path / "tsig").write_text(secret)
    other.ok(
        "mailfleet", "hosts", "add", "x", *NAME, "--address", machine.described["address"], "--yes"
    )
    other.ok(
        *("mailfleet", "zones", "add", zone, "--server", lab["dns"]["authoritative"]),
        *("--tsig-name", name, "--tsig-secret-file", str(tmp_path / "tsig")),
    )
    assert other.run("reconcile", "verify").returncode == 1
    lines = other.json("reconcile", "status")
    published = {line["subject"]: line for line in lines if line["condition"] == "RecordsPublished"}
    assert published["new.fleetlab.net"]["reason"] == reason
    assert secret not in str(lines)
