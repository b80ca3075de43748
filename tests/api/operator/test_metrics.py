"""``/metrics`` of the API: the fleet's gauges, only for the operator, without tenants' names."""

from datetime import timedelta

import pytest
from litestar.testing import TestClient
from prometheus_client import Metric
from prometheus_client.openmetrics.parser import (
    text_string_to_metric_families as parse_openmetrics,
)
from prometheus_client.parser import text_string_to_metric_families
from storekit import Store

from api.dispatch import Dispatcher
from orchestrator.conditions import Reason, Status, Type
from orchestrator.db import writing
from orchestrator.models import Certificate, Host, utcnow
from orchestrator.services import conditions
from orchestrator.settings import CertificateSource

Client = TestClient[Dispatcher]


def scrape(client: Client) -> dict[str, Metric]:
    answer = client.get("/metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain; version=")
    return {family.name: family for family in text_string_to_metric_families(answer.text)}


def values(family: Metric, label: str) -> dict[str, float]:
    return {sample.labels[label]: sample.value for sample in family.samples}


def test_an_empty_fleet_has_figures(operator: Client) -> None:
    seen = scrape(operator)
    assert set(values(seen["mailfleet_hosts"], "state").values()) == {0}
    assert seen["mailfleet_hosts_due"].samples[0].value == 0


def test_hosts_are_counted_by_state_and_measured_by_name(store: Store, operator: Client) -> None:
    mx1, mx2, mx3 = (store.host(f"mx{n}", f"198.51.100.1{n}") for n in (1, 2, 3))
    store.converge(mx1)
    store.observe(mx2, Type.CONVERGED, status=Status.FALSE)
    now = utcnow()
    with writing(store.engine) as session:
        row = session.get_one(Host, mx1.id)
        row.queue, row.load, row.free_kib, row.clock_skew = 3, 0.5, 2048, -1.5
        row.due_at = now + timedelta(hours=1)
        row.lease_until = now + timedelta(minutes=1)
        session.get_one(Host, mx2.id).due_at = now - timedelta(seconds=90)
        session.get_one(Host, mx3.id).paused = True
        row.draining = True
        for days in (10, 90):
            session.add(
                Certificate(
                    host_id=mx1.id,
                    names=[],
                    chain="",
                    private_key="",
                    not_after=now + timedelta(days=days),
                    renew_at=now,
                    source=CertificateSource.AUTHORITY,
                    created_at=now + timedelta(seconds=days),
                )
            )
    seen = scrape(operator)
    states = {"converged": 1, "failed": 1, "paused": 1, "unknown": 0}
    assert values(seen["mailfleet_hosts"], "state") == states
    assert seen["mailfleet_hosts_draining"].samples[0].value == 1
    assert values(seen["mailfleet_host_queue_messages"], "host") == {"mx1": 3}
    assert values(seen["mailfleet_host_load"], "host") == {"mx1": 0.5}
    assert values(seen["mailfleet_host_free_bytes"], "host") == {"mx1": 2048 * 1024}
    assert values(seen["mailfleet_host_clock_skew_seconds"], "host") == {"mx1": -1.5}
    assert seen["mailfleet_hosts_due"].samples[0].value == 1
    assert 90 <= seen["mailfleet_oldest_due_seconds"].samples[0].value < 120
    assert seen["mailfleet_leases_held"].samples[0].value == 1
    ends = values(seen["mailfleet_certificate_expiry_timestamp_seconds"], "host")
    assert ends == {"mx1": pytest.approx((now + timedelta(days=90)).timestamp())}


def test_conditions_are_counted_by_type_status_and_reason(store: Store, operator: Client) -> None:
    host = store.host()
    with writing(store.engine) as session:
        conditions.set_(
            session, host.id, Type.CONVERGED, Status.FALSE, Reason.DISK_FULL, "no space"
        )
    (sample,) = scrape(operator)["mailfleet_conditions"].samples
    assert sample.labels == {"type": "Converged", "status": "False", "reason": "DiskFull"}
    assert sample.value == 1


def test_no_tenant_is_named(store: Store, operator: Client) -> None:
    acme = store.workspace()
    store.pool(store.host(), "198.51.100.21", "198.51.100.22")
    store.assign(acme)
    store.prove(store.domain(acme))
    store.mailboxes(acme, "alice@acme.com")
    assert values(scrape(operator)["mailfleet_addresses"], "state") == {"free": 1, "assigned": 1}
    text = operator.get("/metrics").text
    assert "acme" not in text
    assert "198.51.100" not in text


def test_openmetrics_is_spoken_to_those_who_ask(operator: Client) -> None:
    accept = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5"
    answer = operator.get("/metrics", headers={"Accept": accept})
    assert answer.headers["content-type"].startswith("application/openmetrics-text")
    assert list(parse_openmetrics(answer.text))  # type: ignore[no-untyped-call]


@pytest.mark.parametrize("header", [None, "Bearer wrong"])
def test_only_the_operator_is_told(operator: Client, header: str | None) -> None:
    del operator.headers["Authorization"]
    answer = operator.get("/metrics", headers={} if header is None else {"Authorization": header})
    assert answer.status_code == 401
    assert answer.json()["error"]["code"] == "unauthorized"


def test_a_tenants_key_is_not_enough(client: Client) -> None:
    assert client.get("/metrics").status_code == 401


def test_it_only_reads(operator: Client) -> None:
    assert operator.post("/metrics").status_code == 405
    assert operator.get("/metrics/more").json()["error"]["code"] == "not_found"
