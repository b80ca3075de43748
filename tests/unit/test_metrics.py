"""A reconciler's figures, as Prometheus reads them."""

import socket
import urllib.request
from collections.abc import Iterator
from uuid import uuid4

import pytest
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families
from storekit import Store

from orchestrator.conditions import Reason, Status
from orchestrator.dns.records import Purpose
from orchestrator.dns.verification import Observation
from orchestrator.errors import ConfigurationError
from orchestrator.fleet import Fleet
from orchestrator.metrics import MOST_STEPS, Listener, Metrics
from orchestrator.plan import Action, Change, Plan
from orchestrator.results import Result
from orchestrator.settings import Settings

PLAN = Plan(changes=(Change(Action.UPDATE, "/etc/a"), Change(Action.RELOAD, "postfix")))


@pytest.fixture
def metrics(store: Store) -> Iterator[Metrics]:
    fleet = Fleet(store.settings, store.vault)
    yield Metrics(fleet)
    fleet.close()


def value(metrics: Metrics, name: str, **labels: str) -> float:
    found = metrics.registry.get_sample_value(f"mailfleet_{name}", labels)
    assert found is not None, name
    return found


def test_a_pass_that_changes_something_is_counted_with_its_steps(metrics: Metrics) -> None:
    timings = {"swap": 20.0, "total": 250.0}
    result = Result("mx1", PLAN, timings=timings, run=uuid4(), waited=0.2)
    metrics.done("host", result, 0.3)
    assert value(metrics, "passes_total", outcome="applied") == 1
    assert value(metrics, "changes_total", action="update") == 1
    assert value(metrics, "changes_total", action="reload") == 1
    assert value(metrics, "plan_changes_sum") == 2
    assert value(metrics, "pass_duration_seconds_sum", outcome="applied") == 0.25
    assert value(metrics, "step_duration_seconds_sum", step="swap") == 0.02
    assert value(metrics, "pass_wait_seconds_sum") == 0.2
    assert value(metrics, "work_duration_seconds_sum", kind="host") == 0.3


def test_a_pass_that_fails_tells_its_reason_and_changed_nothing(metrics: Metrics) -> None:
    metrics.done("host", Result("mx1", PLAN, Reason.DISK_FULL, timings={"total": 9.0}), 0.1)
    assert value(metrics, "passes_total", outcome="failed") == 1
    assert value(metrics, "pass_failures_total", reason="DiskFull") == 1
    assert value(metrics, "changes_total", action="update") == 0


@pytest.mark.parametrize(
    ("reason", "outcome"), [(None, "unchanged"), (Reason.BUSY, "busy"), (Reason.PAUSED, "paused")]
)
def test_passes_that_have_nothing_to_do_are_told_apart(
    metrics: Metrics, reason: Reason | None, outcome: str
) -> None:
    metrics.done("host", Result("mx1", reason=reason), 0.1)
    assert value(metrics, "passes_total", outcome=outcome) == 1
    assert value(metrics, "passes_total", outcome="failed") == 0


def test_dns_checks_and_defects_are_counted(metrics: Metrics) -> None:
    seen = Observation(Purpose.MX, Status.UNKNOWN, Reason.RESOLVER_FAILED, "time-out", ())
    metrics.done("domain", [seen, seen], 0.1)
    metrics.done("domain", RuntimeError("a defect"), 0.1)
    assert value(metrics, "dns_checks_total", purpose=Purpose.MX, status="Unknown") == 2
    assert value(metrics, "defects_total", kind="domain") == 1


def test_a_host_can_not_make_up_any_number_of_series(metrics: Metrics) -> None:
    for number in range(MOST_STEPS + 50):
        metrics.done("host", Result("mx1", PLAN, timings={f"step{number}": 1.0}), 0.1)
    families = text_string_to_metric_families(generate_latest(metrics.registry).decode())
    steps = next(f for f in families if f.name == "mailfleet_step_duration_seconds")
    assert len({sample.labels["step"] for sample in steps.samples}) == MOST_STEPS + 1
    assert value(metrics, "step_duration_seconds_count", step="other") == 50


def test_names_follow_the_conventions(metrics: Metrics) -> None:
    text = generate_latest(metrics.registry).decode()
    for family in text_string_to_metric_families(text):
        assert family.name.startswith(("mailfleet_", "process_"))
        assert family.documentation
        if family.type == "histogram":
            assert family.name.endswith(("_seconds", "_changes"))


def test_figures_are_served_while_the_listener_lasts(metrics: Metrics) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}/metrics"
    with (
        Listener(metrics.registry, ("127.0.0.1", port)),
        urllib.request.urlopen(url, timeout=5) as answer,
    ):
        assert b"mailfleet_passes_total" in answer.read()
    with pytest.raises(OSError):
        socket.create_connection(("127.0.0.1", port), 1)


def test_a_port_that_is_taken_is_no_reason_not_to_reconcile(
    metrics: Metrics, caplog: pytest.LogCaptureFixture
) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as taken,
        Listener(metrics.registry, taken.getsockname()),
    ):
        pass
    assert "no metrics are served" in caplog.text


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("", None),
        ("127.0.0.1:8026", ("127.0.0.1", 8026)),
        ("[::1]:8026", ("::1", 8026)),
    ],
)
def test_where_to_listen(text: str, address: tuple[str, int] | None) -> None:
    assert Settings(metrics_listen=text).metrics_address() == address


@pytest.mark.parametrize("text", ["8026", ":8026", "127.0.0.1", "127.0.0.1:x", "host:99999"])
def test_where_nobody_can_listen(text: str) -> None:
    with pytest.raises(ConfigurationError, match="metrics_listen"):
        Settings(metrics_listen=text).metrics_address()
