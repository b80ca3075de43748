"""The OpenAPI description is what the API does: requests made from it, good and bad ones."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import clusterkit
import descriptionkit
import httpx
import pytest
import schemathesis
from apikit import serve
from databases import Databases
from schemathesis import GenerationMode
from storekit import Store

from api.unmta import BASE_PATH

DOCUMENTED = {
    ("GET", ""),
    ("GET", "/{cluster}/mtas"),
    ("GET", "/{cluster}/domains"),
    ("POST", "/{cluster}/domains"),
    ("GET", "/{cluster}/domains/{domain}"),
    ("DELETE", "/{cluster}/domains/{domain}"),
    ("GET", "/{cluster}/credentials"),
    ("POST", "/{cluster}/credentials"),
    ("PUT", "/{cluster}/credentials/{user}"),
    ("DELETE", "/{cluster}/credentials/{user}"),
}


@pytest.fixture(scope="module")
def store(
    tmp_path_factory: pytest.TempPathFactory, databases: Databases, few_keys: None
) -> Iterator[Store]:
    directory: Path = tmp_path_factory.mktemp("store")
    with databases.migrated("sqlite", directory) as url:
        made = Store(directory, url)
        yield made
        made.close()


@pytest.fixture(scope="module")
def client(store: Store) -> Iterator[httpx.Client]:
    """A user's program; the workspace has a cluster with an MTA, a domain and a credential."""
    acme = store.workspace()
    host = store.host()
    store.pool(host, "198.51.100.21")
    slug = clusterkit.cluster(store, acme, host).slug
    token = clusterkit.token(store, clusterkit.user(store, acme))
    headers = {"Authorization": f"Bearer {token}"}
    with serve(store.settings) as url, httpx.Client(base_url=url, headers=headers) as client:
        base = f"{BASE_PATH}/{slug}"
        assert client.post(f"{base}/domains", json={"name": "acme.com"}).status_code == 201
        body = {"user": "app", "domains": ["acme.com"]}
        assert client.post(f"{base}/credentials", json=body).status_code == 201
        yield client


def test_the_description_has_what_is_documented(client: httpx.Client) -> None:
    description = client.get(f"{BASE_PATH}/docs/openapi.json").json()
    paths = description["paths"].items()
    routes = {(method.upper(), path) for path, item in paths for method in item}
    assert routes == {(method, BASE_PATH + path) for method, path in DOCUMENTED}
    schemas = description["components"]["schemas"]
    assert schemas["CreateCredential"]["required"] == ["user"]
    assert schemas["UpdateCredential"].get("required", []) == []
    assert set(schemas["UpdateCredential"]["properties"]) == {
        "allow_all_domains",
        "domains",
        "allow_all_ips",
        "allowed_ips",
    }
    assert client.get(f"{BASE_PATH}/docs").headers["content-security-policy"]


@pytest.mark.parametrize("mode", list(GenerationMode))
def test_every_answer_is_as_described(client: httpx.Client, mode: GenerationMode) -> None:
    path = f"{BASE_PATH}/docs/openapi.json"
    found = descriptionkit.check(client, path, mode, _take_those_that_are_there)
    assert found == len(DOCUMENTED)


def _take_those_that_are_there(client: httpx.Client, case: schemathesis.Case[Any]) -> None:
    (cluster,) = client.get(BASE_PATH).json()["data"]
    for name, path, key in (
        ("cluster", "", "id"),
        ("domain", f"/{cluster['id']}/domains", "name"),
        ("user", f"/{cluster['id']}/credentials", "user"),
    ):
        if name in case.path_parameters:
            rows = client.get(BASE_PATH + path).json()["data"]
            case.path_parameters[name] = rows[-1][key] if rows else "none"
