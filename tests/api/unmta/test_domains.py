"""The rules of a cluster's domains."""

from typing import Any

import clusterkit
from litestar.testing import TestClient
from storekit import Store

from api.dispatch import Dispatcher
from api.unmta import BASE_PATH
from orchestrator import db
from orchestrator.models import Cluster, DkimKey, DkimState, Domain, Workspace
from orchestrator.services import cluster_domains, clusters

Client = TestClient[Dispatcher]


def _refuses(answer: Any, message: str | None = None) -> None:
    assert answer.status_code == 422, answer.text
    assert list(answer.json()["errors"]) == ["name"]
    said = answer.json()["message"]
    assert said == answer.json()["errors"]["name"][0]
    assert said.endswith(".") and (message is None or said == message)


NO_DOMAINS = [
    "192.0.2.1",
    "[192.0.2.1]",
    "2001:db8::1",
    "[2001:db8::1]",
    "127.1",
    "com",
    "localhost",
    "example",
    "a b.com",
    "-a.com",
    "a_b.com",
    "*.example.com",
    "example..com",
    "example.com\n",
    "example.com\r\nx",
    "example.com\0",
    "http://example.com",
    "ops@example.com",
    "example.com/x",
    "a" * 64 + ".com",
    "a." * 127 + "com",
    " ",
    ".",
    "xn--a.com",
    "fleetlab.net",
    "a.fleetlab.net",
    "probe.fleetlab.net",
]


def test_what_is_no_domain_of_a_tenant(call: Any) -> None:
    for name in NO_DOMAINS:
        _refuses(call("POST", "/domains", {"name": name}))
        assert call("GET", "/domains").json() == {"data": []}


RESERVED = ["localhost", "local", "test", "invalid", "example", "localdomain", "LOCAL"]


def test_reserved_top_level_domains(call: Any) -> None:
    for tld in RESERVED:
        message = f"The name field ends in .{tld.lower()}, which is not in the public DNS."
        _refuses(call("POST", "/domains", {"name": f"acme.{tld}"}), message)


def test_names_are_the_same_in_any_case(call: Any) -> None:
    made = call("POST", "/domains", {"name": "Example.COM"}).json()["data"]
    assert made["name"] == "example.com"
    for name in ("example.com", "EXAMPLE.com", "Example.Com", "example.com."):
        assert call("GET", f"/domains/{name}").json()["data"] == made
    taken = "The name has already been taken."
    for name in ("example.com", "EXAMPLE.com", "example.com."):
        _refuses(call("POST", "/domains", {"name": name}), taken)
    assert call("DELETE", "/domains/eXample.com").status_code == 204
    assert call("GET", "/domains").json() == {"data": []}


def test_international_names_are_a_labels(call: Any) -> None:
    made = call("POST", "/domains", {"name": "Bücher.de"}).json()["data"]
    assert made["name"] == "xn--bcher-kva.de"
    assert call("GET", "/domains/bücher.de").json()["data"] == made


NOT_THERE = ["other.com", "%00", "%ff", "..%2f", "192.0.2.1", "x" * 300]


def test_a_domain_that_is_not_there(call: Any) -> None:
    for name in NOT_THERE:
        for method in ("GET", "DELETE"):
            answer = call(method, f"/domains/{name}")
            assert (answer.status_code, answer.json()) == (404, {"message": "Not Found"})


def test_a_domain_may_come_back_with_another_key(call: Any) -> None:
    first = call("POST", "/domains", {"name": "example.com"}).json()["data"]
    assert call("DELETE", "/domains/example.com").status_code == 204
    second = call("POST", "/domains", {"name": "example.com"}).json()["data"]
    assert second["status"] == first["status"] == "pending"
    assert call("GET", "/domains/example.com").json()["data"] == second


def test_a_domain_of_two_clusters_has_a_selector_in_each(
    client: Client, store: Store, acme: Workspace, cluster: Cluster
) -> None:
    other = clusterkit.cluster(store, acme)
    selectors = []
    for slug in (cluster.slug, other.slug):
        path = f"{BASE_PATH}/{slug}/domains"
        answer = client.post(path, json={"name": "example.com"})
        assert answer.status_code == 201
        selectors.append(answer.json()["data"]["dns_records"]["dkim"]["name"])
        assert client.get(f"{path}/example.com").json() == answer.json()
    assert selectors == ["unmta._domainkey", f"unmta-{other.slug}._domainkey"]


def test_a_verified_domain(call: Any, store: Store, cluster: Cluster) -> None:
    made = call("POST", "/domains", {"name": "example.com"}).json()["data"]
    with db.reading(store.engine) as session:
        row = cluster_domains.get(session, cluster, "example.com")
    store.prove(row)
    data = call("GET", "/domains/example.com").json()["data"]
    assert data["status"] == "verified"
    assert data["updated_at"] >= data["created_at"] == made["created_at"]
    assert call("GET", "/domains").json()["data"][0]["status"] == "verified"


def test_what_another_workspace_has_proven_is_taken(
    call: Any, store: Store, cluster: Cluster
) -> None:
    stranger = store.workspace("stranger")
    theirs = clusterkit.cluster(store, stranger)
    with db.writing(store.engine) as session:
        row = cluster_domains.add(
            session,
            store.vault,
            store.settings,
            clusters.get(session, stranger, theirs.slug),
            "example.com",
        )
    # Nobody knows yet whose it is.
    assert call("POST", "/domains", {"name": "example.com"}).status_code == 201
    assert call("DELETE", "/domains/example.com").status_code == 204
    store.prove(row)
    _refuses(call("POST", "/domains", {"name": "example.com"}), "The name has already been taken.")


def test_during_a_rotation_the_key_that_signs_is_told(
    call: Any, store: Store, cluster: Cluster
) -> None:
    first = call("POST", "/domains", {"name": "example.com"}).json()["data"]
    with db.writing(store.engine) as session:
        row = cluster_domains.get(session, cluster, "example.com")
        cluster_domains.key(session, row).state = DkimState.ACTIVE
        session.flush()
        for state, public in ((DkimState.RETIRED, "MIIold"), (DkimState.PENDING, "MIInew")):
            key = DkimKey(
                domain_id=row.id,
                selector="unmta-2",
                private_key="",
                public_key=public,
                state=state,
            )
            session.add(key)
            session.flush()
    assert call("GET", "/domains/example.com").json()["data"] == first
    (listed,) = call("GET", "/domains").json()["data"]
    assert listed["dkim_public_key"] == first["dkim_public_key"]


def test_deleting_a_domain_takes_it_from_credentials(call: Any, store: Store) -> None:
    for name in ("example.com", "other.com"):
        assert call("POST", "/domains", {"name": name}).status_code == 201
    for user, domains in (("both", ["example.com", "other.com"]), ("one", ["example.com"])):
        assert call("POST", "/credentials", {"user": user, "domains": domains}).status_code == 201
    assert call("DELETE", "/domains/Example.com").status_code == 204
    for _ in range(2):
        both, one = call("GET", "/credentials").json()["data"]
        assert (both["domains"], both["allow_all_domains"]) == (["other.com"], False)
        assert (one["domains"], one["allow_all_domains"]) == ([], False)
        # Nor do they have it again when it comes back.
        call("POST", "/domains", {"name": "example.com"})
    # Whoever lost all may be changed otherwise.
    answer = call("PUT", "/credentials/one", {"allowed_ips": ["203.0.113.5"]})
    assert answer.status_code == 200, answer.text
    assert answer.json()["data"]["domains"] == []
    answer = call("PUT", "/credentials/one", {"allow_all_domains": False})
    assert list(answer.json()["errors"]) == ["domains"]


def test_the_rows_of_a_deleted_domain_stay_for_the_hosts(
    call: Any, store: Store, cluster: Cluster
) -> None:
    call("POST", "/domains", {"name": "example.com"})
    with db.reading(store.engine) as session:
        row = cluster_domains.get(session, cluster, "example.com")
    call("DELETE", "/domains/example.com")
    with db.reading(store.engine) as session:
        assert session.get_one(Domain, row.id).deleted_at is not None
