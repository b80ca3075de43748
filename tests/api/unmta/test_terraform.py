"""A program that brings a cluster to what a file says, as Terraform does: again and again."""

from typing import Any

from litestar.testing import TestClient

from api.dispatch import Dispatcher
from api.unmta import BASE_PATH
from orchestrator.models import Cluster

Client = TestClient[Dispatcher]

#: Domains, and credentials' restrictions by user.
Wanted = tuple[set[str], dict[str, dict[str, Any]]]

FIRST: Wanted = (
    {"example.com", "example.org"},
    {
        "web": {
            "allow_all_domains": False,
            "domains": ["example.com"],
            "allow_all_ips": True,
            "allowed_ips": [],
        },
        "batch": {
            "allow_all_domains": True,
            "domains": [],
            "allow_all_ips": False,
            "allowed_ips": ["203.0.113.0/24", "2001:db8::5"],
        },
    },
)
SECOND: Wanted = (
    {"example.com", "example.net"},
    {
        "web": {
            "allow_all_domains": False,
            "domains": ["example.com", "example.net"],
            "allow_all_ips": False,
            "allowed_ips": ["198.51.100.5"],
        },
        "crm": {
            "allow_all_domains": True,
            "domains": [],
            "allow_all_ips": True,
            "allowed_ips": [],
        },
    },
)
NOTHING: Wanted = (set(), {})


class Program:
    """Reads what is there, and makes, changes and deletes what differs."""

    def __init__(self, client: Client, cluster: str) -> None:
        self.client = client
        self.base = f"{BASE_PATH}/{cluster}"

    def _ask(self, status: int, method: str, path: str, body: Any = None) -> Any:
        answer = self.client.request(method, self.base + path, json=body)
        assert answer.status_code == status, answer.text
        return answer.json() if answer.content else None

    def state(self) -> Wanted:
        """What is there."""
        domains = self._ask(200, "GET", "/domains")["data"]
        credentials = self._ask(200, "GET", "/credentials")["data"]
        for row in credentials:
            del row["created_at"], row["updated_at"]
        return {row["name"] for row in domains}, {row.pop("user"): row for row in credentials}

    def bring(self, wanted: Wanted) -> int:
        """Make it so; gives how much had to be done."""
        (domains, credentials), (had, have) = wanted, self.state()
        done = 0
        for name in sorted(domains - had):
            made = self._ask(201, "POST", "/domains", {"name": name})["data"]
            assert self._ask(200, "GET", f"/domains/{name}")["data"] == made
            done += 1
        for user, body in credentials.items():
            if user not in have:
                made = self._ask(201, "POST", "/credentials", {"user": user, **body})
                assert len(made["password"]) == 32
                done += 1
            elif have[user] != body:
                self._ask(200, "PUT", f"/credentials/{user}", body)
                done += 1
        for user in have.keys() - credentials.keys():
            self._ask(204, "DELETE", f"/credentials/{user}")
            done += 1
        for name in had - domains:
            self._ask(204, "DELETE", f"/domains/{name}")
            done += 1
        return done


def test_create_read_change_destroy_twice(client: Client, cluster: Cluster) -> None:
    (listed,) = client.get(BASE_PATH).json()["data"]
    assert listed["id"] == cluster.slug
    program = Program(client, listed["id"])
    for _ in range(2):
        for wanted, work in ((FIRST, 4), (SECOND, 5), (NOTHING, 4)):
            assert program.bring(wanted) == work
            assert program.state() == wanted
            # Once it is so, there is nothing to do.
            assert program.bring(wanted) == 0
