"""What a fleet tells of itself: figures, history, transitions, and never a secret."""

import json
import logging
import os
import pty
import re
import signal
import subprocess
import time
import uuid
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
from labkit import BIN, MAILBOXES, ROOT, Machine, Operator, Tenant, wait_for
from prometheus_client.parser import text_string_to_metric_families

from orchestrator import db, logs, passes, settings
from orchestrator.control import ControlPlane
from orchestrator.secrets import Vault
from orchestrator.services import hosts

pytestmark = pytest.mark.lab

RECONCILER = "http://127.0.0.1:8026/metrics"
MARK = "# put here by tests/e2e/test_metrics.py"


def api_figures(lab: dict[str, Any]) -> str:
    headers = {"Authorization": f"Bearer {lab['operator_token']}"}
    return httpx.get(f"{lab['api']}/metrics", headers=headers, timeout=30).raise_for_status().text


@pytest.fixture(scope="module")
def fleet(lab: dict[str, Any]) -> Iterator[httpx.Client]:
    """The operator's API."""
    headers = {"Authorization": f"Bearer {lab['operator_token']}"}
    base = f"{lab['api']}/operator/v1"
    with httpx.Client(base_url=base, headers=headers, timeout=30) as client:
        yield client


def figure(name: str, **labels: str) -> float:
    """One figure of the lab's reconciler."""
    text = httpx.get(RECONCILER, timeout=30).raise_for_status().text
    samples = (s for family in text_string_to_metric_families(text) for s in family.samples)
    found = (s.value for s in samples if s.name == f"mailfleet_{name}" and s.labels == labels)
    return next(found, 0.0)


def drift(fleet: httpx.Client, operator: Operator, machine: Machine) -> str:
    """Spoil a file; gives the run that put it right."""
    recent = partial(fleet.get, "/runs", params={"host": machine.name, "limit": 5})
    known = {row["id"] for row in recent().json()["data"]}
    machine.sh(f"echo '{MARK}' >> /etc/postfix/main.cf")
    # It is looked at now, not only when its time comes.
    operator.ok("mailfleet", "hosts", "resume", machine.name)

    def ours() -> str | None:
        """Other wishes may be pushed before and after it."""
        new = {row["id"] for row in recent().json()["data"]} - known
        shown = {id_: fleet.get(f"/runs/{id_}").json()["data"] for id_ in new}
        return next((id_ for id_, row in shown.items() if MARK in json.dumps(row)), None)

    return wait_for("its run", ours)


def test_a_change_moves_the_counters_and_stands_in_the_history(
    fleet: httpx.Client, operator: Operator, machine: Machine
) -> None:
    # A pass that had another wish to push as well pushes twice, and tells of the first: the
    # second time nothing else is left.
    drift(fleet, operator, machine)
    time.sleep(3)
    before = figure("passes_total", outcome="applied"), figure("changes_total", action="update")
    id_ = drift(fleet, operator, machine)

    def timings() -> dict[str, float]:
        shown: dict[str, float] = fleet.get(f"/runs/{id_}").json()["data"]["timingsMs"]
        return shown

    wait_for("the end of its pass", lambda: "total" in timings())
    wait_for("the count", lambda: figure("passes_total", outcome="applied") > before[0])
    wait_for("the changes", lambda: figure("changes_total", action="update") > before[1])
    history = operator.json("reconcile", "history", machine.name, "--limit", "5")
    run = next(row for row in history if row["run"] == id_)
    assert run["outcome"] == "applied"
    assert run["owner"]
    generations = [row["generation"] for row in history]
    assert generations == sorted(generations, reverse=True)
    assert figure("step_duration_seconds_count", step="swap") >= 1

    shown = operator.ok("reconcile", "show", run["run"][:18])
    assert f"-{MARK}" in shown
    assert re.search(r"^swap +\d+$", shown, re.MULTILINE)
    whole = operator.json("reconcile", "show", run["run"])
    assert whole["timings_ms"]["total"] > 0
    assert timings() == whole["timings_ms"]
    line = re.compile(rf"run={run['run']} host={machine.name} outcome=applied")
    log = ROOT / ".lab/log/reconciler.log"
    wait_for("its line in the log", lambda: line.search(log.read_text()))


def test_every_line_of_a_pass_carries_run_host_and_outcome(
    operator: Operator, machine: Machine, capsys: pytest.CaptureFixture[str]
) -> None:
    options = settings.load(operator.config, {})
    engine = db.connect(options.database_url)
    root = logging.getLogger()
    kept, level = root.handlers[:], root.level
    logs.configure("json", "debug")
    try:
        with db.reading(engine) as session:
            host = hosts.get_by_name(session, machine.name).id
        with ControlPlane(engine, options, Vault(options.master_key_file)) as control:
            result = passes.settle(control, host)
    finally:
        root.handlers[:] = kept
        root.setLevel(level)
        engine.dispose()
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    (line,) = (line for line in lines if "outcome" in line)
    assert (line["run"], line["host"]) == (str(result.run), machine.name)
    assert line["outcome"] == result.outcome


def test_the_api_tells_of_both_hosts(lab: dict[str, Any], machines: dict[str, Machine]) -> None:
    assert httpx.get(f"{lab['api']}/metrics", timeout=30).status_code == 401
    families = {f.name: f for f in text_string_to_metric_families(api_figures(lab))}
    for name in ("certificate_expiry_timestamp_seconds", "host_queue_messages", "host_free_bytes"):
        assert {s.labels["host"] for s in families[f"mailfleet_{name}"].samples} >= set(machines)
    held = [s for s in families["mailfleet_conditions"].samples if s.labels["status"] == "True"]
    assert {s.labels["type"] for s in held} >= {"Reachable", "Converged", "EgressProven"}


def secrets_of(lab: dict[str, Any], operator: Operator, machine: Machine) -> set[str]:
    """Everything of the lab that nobody may read, as it would be printed."""
    state = ROOT / ".lab"
    found = {lab["operator_token"], lab["world"]["password"], *lab["keys"].values()}
    for path in state.iterdir():
        if path.suffix in {".key", ".secret", ".token", ".password"} or path.name == "id_ed25519":
            # Of a key file any line of it would be too much.
            found |= {line for line in path.read_text().splitlines() if "-----" not in line}
    own = MAILBOXES[machine.name]
    found.add(operator.ok("mailfleet", "mailboxes", "password", own, "--workspace", "acme"))
    found |= set(re.findall(r"\$6\$[^:]+", machine.sh("cat /etc/dovecot/users")))
    keys = machine.sh("cat /etc/mailfleet/tls/key.pem /etc/opendkim/keys/*")
    found |= {line for line in keys.splitlines() if "-----" not in line}
    return {secret.strip() for secret in found if len(secret.strip()) >= 12}


def test_no_secret_is_told_to_anybody(
    lab: dict[str, Any], fleet: httpx.Client, operator: Operator, machine: Machine
) -> None:
    told = [api_figures(lab), httpx.get(RECONCILER, timeout=30).text]
    told += [path.read_text() for path in Path(ROOT / ".lab/log").iterdir()]
    runs = fleet.get("/runs", params={"host": machine.name}).json()["data"]
    told += [fleet.get(f"/runs/{run['id']}").text for run in runs]
    secrets = secrets_of(lab, operator, machine)
    assert len(secrets) > 20
    leaked = [secret[:4] for secret in secrets for text in told if secret in text]
    assert not leaked


@pytest.fixture
def unproven(tenant: Tenant) -> Iterator[str]:
    """A domain that nobody has published."""
    name = f"w{uuid.uuid4().hex[:10]}.net"
    tenant.data("POST", "/domains", {"name": name})
    yield name
    made = [row for row in tenant.data("GET", "/domains") if row["name"] == name]
    for row in made:
        tenant.data("DELETE", f"/domains/{row['id']}")


def watch(operator: Operator, *arguments: str, **streams: Any) -> subprocess.Popen[str]:
    environment = {**os.environ, "MAILFLEET_CONFIG": str(operator.config), "TERM": "xterm"}
    command = [str(BIN / "reconcile"), "status", "--watch", *arguments]
    return subprocess.Popen(command, env=environment, text=True, **streams)


def test_transitions_are_told_as_they_happen(
    operator: Operator, tenant: Tenant, unproven: str
) -> None:
    process = watch(operator, stdout=subprocess.PIPE)
    assert process.stdout is not None
    told = process.stdout
    missing = f"domain {unproven} OwnershipProven: "
    assert any(missing in line and "False (Missing)" in line for line in told)
    domain = next(row for row in tenant.data("GET", "/domains") if row["name"] == unproven)
    tenant.data("DELETE", f"/domains/{domain['id']}")
    assert any(f"domain {unproven} MxOk: False -> gone" in line for line in told)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=30)
    # The code of what holds then: nothing is False, though something may not be known yet.
    assert process.returncode in {0, 2}


def test_a_script_waits_until_everything_holds(
    fleet: httpx.Client, operator: Operator, unproven: str
) -> None:
    def missing() -> bool:
        rows = fleet.get("/status").json()["data"]["conditions"]
        return any(row["subject"] == unproven and row["status"] == "False" for row in rows)

    wait_for("the missing record", missing)
    late = operator.run("reconcile", "status", "--until-converged", "--timeout", "1")
    assert late.returncode == 1
    assert unproven in late.stdout


def test_when_everything_holds_waiting_ends(operator: Operator) -> None:
    done = operator.run("reconcile", "status", "--until-converged", "--timeout", "60", "--json")
    assert done.returncode == 0, done.stdout
    seen = [json.loads(line) for line in done.stdout.splitlines()]
    assert {row["subject"] for row in seen} >= {"mx1", "mx2"}


def test_a_terminal_shows_a_table_until_it_is_interrupted(operator: Operator) -> None:
    ours, theirs = pty.openpty()
    process = watch(operator, "--all", stdout=theirs, stderr=theirs)
    os.close(theirs)
    shown = ""
    while "conditions hold" not in shown:
        shown += os.read(ours, 4096).decode(errors="replace")
    process.send_signal(signal.SIGINT)
    while process.poll() is None:
        try:
            shown += os.read(ours, 4096).decode(errors="replace")
        except OSError:
            break
    assert process.wait(30) in {0, 1, 2}
    os.close(ours)
    assert "Traceback" not in shown
