"""Every example of the unMTA reference, shape by shape."""

import re
from typing import Any

import clusterkit
from litestar.testing import TestClient
from storekit import Store

from api.dispatch import Dispatcher
from api.unmta import BASE_PATH
from orchestrator import db
from orchestrator.models import Cluster, Workspace
from orchestrator.services import addresses, clusters

Client = TestClient[Dispatcher]

MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")


def _data(answer: Any, status: int = 200) -> Any:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/json"
    assert list(answer.json()) == ["data"]
    return answer.json()["data"]


def _moments(row: Any) -> tuple[str, str]:
    created, updated = row.pop("created_at"), row.pop("updated_at")
    assert MOMENT.fullmatch(created) and MOMENT.fullmatch(updated) and created <= updated
    return created, updated


def test_list_clusters(client: Client, store: Store, acme: Workspace) -> None:
    assert _data(client.get(BASE_PATH)) == []
    first, second = (clusterkit.cluster(store, acme, region="us-dal-1") for _ in range(2))
    rows = _data(client.get(BASE_PATH))
    for row, made in zip(rows, (first, second), strict=True):
        _moments(row)
        assert row == {
            "id": made.slug,
            "hostname": f"c-{made.slug}.fleetlab.net",
            "region": "us-dal-1",
            "status": "provisioning",
            "max_message_rate": None,
        }
        assert re.fullmatch(r"[a-z0-9]{8}", made.slug)


def test_a_cluster_is_active_once_an_mta_was_seen_so(
    client: Client, store: Store, acme: Workspace
) -> None:
    host = store.host()
    store.pool(host, "198.51.100.21")
    clusterkit.cluster(store, acme, host)
    assert [row["status"] for row in _data(client.get(BASE_PATH))] == ["provisioning"]
    store.converge(host)
    assert [row["status"] for row in _data(client.get(BASE_PATH))] == ["active"]


def test_a_message_rate_is_told_as_it_was_given(
    client: Client, store: Store, cluster: Cluster
) -> None:
    for rate in ("500/hr", "1,000/day", "50/hr,max_burst=10", "500/30min", None):
        with db.writing(store.engine) as session:
            clusters.set_rate(session, session.get_one(Cluster, cluster.id), rate)
        (row,) = _data(client.get(BASE_PATH))
        assert row["max_message_rate"] == rate


def test_list_mtas(client: Client, store: Store, acme: Workspace) -> None:
    hosts = [store.host(), store.host("mx2", "198.51.100.12")]
    store.pool(hosts[0], "198.51.100.21", "198.51.100.22", "2001:db8::10")
    store.pool(hosts[1], "198.51.100.31")
    made = clusterkit.cluster(store, acme, *hosts)
    with db.writing(store.engine) as session:
        addresses.assign(session, acme, host=hosts[0])
        addresses.assign(session, acme, version=6, host=hosts[0])
    first, second = _data(client.get(f"{BASE_PATH}/{made.slug}/mtas"))
    again, _ = _data(client.get(f"{BASE_PATH}/{made.slug}/mtas"))
    assert first == again
    ids = {first.pop("id"), second.pop("id")}
    assert len(ids) == 2 and all(re.fullmatch(r"[a-z0-9]{8}", id_) for id_ in ids)
    _moments(first)
    _moments(second)
    assert first == {
        "hostname": "mx1.fleetlab.net",
        "primary_ipv4": "198.51.100.11",
        "primary_ipv6": None,
        "outbound_ips": [
            {
                "ipv4": "198.51.100.21",
                "ipv6": "2001:db8::10",
                "ptr": "ip-198-51-100-21.fleetlab.net",
            },
            {"ipv4": "198.51.100.22", "ipv6": None, "ptr": "ip-198-51-100-22.fleetlab.net"},
        ],
    }
    assert second["outbound_ips"] == [
        {"ipv4": "198.51.100.31", "ipv6": None, "ptr": "ip-198-51-100-31.fleetlab.net"}
    ]


def test_create_domain(call: Any) -> None:
    answer = call("POST", "/domains", {"name": "example.com"})
    data = _data(answer, 201)
    created, updated = _moments(data)
    assert created == updated
    key = data["dkim_public_key"]
    assert re.fullmatch(r"MII[A-Za-z0-9+/]{300,}=*", key)
    assert data == {
        "name": "example.com",
        "status": "pending",
        "dkim_public_key": key,
        "dns_records": {
            "dkim": {"type": "TXT", "name": "unmta._domainkey", "value": f"p={key}"},
            "dmarc": {
                "type": "TXT",
                "name": "_dmarc",
                "value": "v=DMARC1; p=reject; adkim=s; aspf=r",
            },
        },
    }
    assert list(answer.json()["data"]) == [
        "name",
        "status",
        "dkim_public_key",
        "dns_records",
        "created_at",
        "updated_at",
    ]


def test_list_and_get_domains(call: Any) -> None:
    assert _data(call("GET", "/domains")) == []
    made = [_data(call("POST", "/domains", {"name": name}), 201) for name in ("b.com", "a.com")]
    assert [_data(call("GET", f"/domains/{row['name']}")) for row in made] == made
    for row in made:
        del row["dns_records"]
    assert _data(call("GET", "/domains")) == made


def test_delete_domain(call: Any) -> None:
    assert call("POST", "/domains", {"name": "example.com"}).status_code == 201
    answer = call("DELETE", "/domains/example.com")
    assert (answer.status_code, answer.content) == (204, b"")
    assert call("GET", "/domains/example.com").status_code == 404
    assert call("DELETE", "/domains/example.com").status_code == 404
    assert _data(call("GET", "/domains")) == []


def _domains(call: Any, *names: str) -> None:
    for name in names:
        _data(call("POST", "/domains", {"name": name}), 201)


def test_create_credential(call: Any) -> None:
    _domains(call, "example.com", "notifications.example.com")
    body = {
        "user": "webapp-production",
        "allow_all_domains": False,
        "domains": ["example.com", "notifications.example.com"],
        "allow_all_ips": False,
        "allowed_ips": ["203.0.113.0/24", "198.51.100.5"],
    }
    answer = call("POST", "/credentials", body)
    assert answer.status_code == 201
    assert list(answer.json()) == ["data", "password"]
    password, data = answer.json()["password"], answer.json()["data"]
    assert re.fullmatch(r"[A-Za-z0-9]{32}", password)
    created, updated = _moments(data)
    assert created == updated
    assert data == body
    # It is told this once.
    for path in ("/credentials", "/domains"):
        assert password not in call("GET", path).text


def test_create_credential_of_one_domain(call: Any) -> None:
    _domains(call, "example.com")
    answer = call("POST", "/credentials", {"user": "webapp-production", "domains": ["example.com"]})
    data = answer.json()["data"]
    _moments(data)
    assert data == {
        "user": "webapp-production",
        "allow_all_domains": False,
        "domains": ["example.com"],
        "allow_all_ips": True,
        "allowed_ips": [],
    }


def test_list_credentials(call: Any) -> None:
    assert _data(call("GET", "/credentials")) == []
    _domains(call, "example.com", "test.com")
    body = {"user": "smtp_user", "domains": ["example.com", "test.com"]}
    made = call("POST", "/credentials", body).json()["data"]
    assert _data(call("GET", "/credentials")) == [made]
    assert (made["allow_all_domains"], made["domains"]) == (False, ["example.com", "test.com"])
    assert (made["allow_all_ips"], made["allowed_ips"]) == (True, [])


def test_update_credential(call: Any) -> None:
    _domains(call, "example.com", "new-domain.com")
    call("POST", "/credentials", {"user": "webapp-production", "allow_all_domains": True})
    path = "/credentials/webapp-production"
    data = _data(call("PUT", path, {"domains": ["example.com", "new-domain.com"]}))
    assert _data(call("GET", "/credentials")) == [data]
    _moments(data)
    assert data == {
        "user": "webapp-production",
        "allow_all_domains": False,
        "domains": ["example.com", "new-domain.com"],
        "allow_all_ips": True,
        "allowed_ips": [],
    }
    data = _data(call("PUT", path, {"allow_all_domains": True}))
    assert (data["allow_all_domains"], data["domains"]) == (True, [])


def test_delete_credential(call: Any) -> None:
    call("POST", "/credentials", {"user": "webapp-production", "allow_all_domains": True})
    answer = call("DELETE", "/credentials/webapp-production")
    assert (answer.status_code, answer.content) == (204, b"")
    assert _data(call("GET", "/credentials")) == []
    assert call("DELETE", "/credentials/webapp-production").status_code == 404


def test_the_documented_errors(anonymous: Client, call: Any) -> None:
    answer = call("POST", "/domains", {})
    assert (answer.status_code, answer.json()) == (
        422,
        {
            "message": "The name field is required.",
            "errors": {"name": ["The name field is required."]},
        },
    )
    answer = call("GET", "/domains/example.com")
    assert (answer.status_code, answer.json()) == (404, {"message": "Not Found"})
    answer = call("GET", "/domains", headers={"Authorization": "Bearer your-api-token"})
    assert (answer.status_code, answer.json()) == (401, {"message": "Unauthenticated."})
