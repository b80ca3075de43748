"""Clusters on each Debian: where their mail leaves from, and what receivers see of it."""

import re
import smtplib
import subprocess
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from blocklistkit import Blocklist
from labkit import Machine, Operator, rest_is_over, wait_for
from mtakit import DOMAIN, Client, Login, Mta, known, sent, submit
from sqlalchemy import Engine

from orchestrator import db
from orchestrator.lab.demo import World
from orchestrator.models import utcnow
from orchestrator.services import addresses, hosts, workspaces

pytestmark = pytest.mark.lab


def test_mail_is_signed_with_the_clusters_key_and_passes_dmarc(
    lab: dict[str, Any], client: Client, wide: Login, mta: Mta
) -> None:
    assert client.domain(DOMAIN)["dns_records"]["dkim"]["name"] == "unmta._domainkey"
    signed_by(lab, wide, mta, "unmta")


def signed_by(lab: dict[str, Any], login: Login, mta: Mta, selector: str) -> None:
    """Send, and see what an independent receiver says of the message."""
    message_id = f"<{uuid.uuid4().hex}@{DOMAIN}>"
    with login.connect(mta.at, mta.tls) as session:
        submit(session, f"a@{DOMAIN}", mta.walter, message_id=message_id)
    world = World(lab["world"], lab["ca"])
    arrived = wait_for("the message", lambda: world.find(message_id))
    results = " ".join(str(value) for value in arrived.get_all("Authentication-Results", []))
    assert "dkim=pass" in results
    assert "dmarc=pass" in results
    signature = "".join(str(arrived["DKIM-Signature"]).split())
    assert f"d={DOMAIN};s={selector};" in signature


def test_the_name_of_the_cluster_stands_for_its_mtas(
    lab: dict[str, Any], client: Client, mta: Mta
) -> None:
    name = client.row()["hostname"]
    command = ["dig", "+short", f"@{lab['resolver']}", name, "A"]

    def resolved() -> bool:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
        return set(done.stdout.split()) == {row["address"] for row in lab["hosts"]}

    wait_for("both MTAs under the cluster's name", resolved)
    done = subprocess.run(
        [
            *("openssl", "s_client", "-starttls", "smtp", "-CAfile", lab["ca"]),
            *("-connect", f"{mta.machine.described['address']}:587", "-verify_hostname", name),
            "-verify_return_error",
        ],
        input="QUIT\n",
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture
def two_addresses(mta: Mta, engine: Engine) -> Iterator[list[str]]:
    """The workspace has both IPv4 addresses of the host."""
    with db.writing(engine) as session:
        owner = workspaces.get_by_slug(session, "acme")
        host = hosts.get_by_name(session, mta.machine.name)
        taken = addresses.assign(session, owner, host=host)
    yield mta.addresses
    with db.writing(engine) as session:
        for address in taken:
            addresses.release(session, owner, address.id)
    rest_is_over(engine)


def rotation(machine: Machine) -> set[str]:
    """The addresses that Postfix takes turns with."""
    # The digest is there once Postfix has reloaded.
    maps = "postconf -h sender_dependent_default_transport_maps"
    told = machine.sh(f"[ ! -s /var/lib/mailfleet/applied/postfix ] || {maps}")
    return {name.replace("-", ".") for name in re.findall(r"out-([0-9-]+):", told)}


def test_addresses_take_turns_and_a_listed_one_leaves_them(
    lab: dict[str, Any],
    wide: Login,
    mta: Mta,
    engine: Engine,
    two_addresses: list[str],
) -> None:
    first, second = two_addresses
    wait_for("both in turns", lambda: rotation(mta.machine) == {first, second})

    def leave(count: int) -> Counter[str]:
        """Which addresses messages of so many senders leave from."""
        began = time.time()
        with wide.connect(first, mta.tls) as session:
            ids = [submit(session, f"s{n}@{DOMAIN}", mta.walter) for n in range(count)]
        wait_for("all sent", lambda: set(ids) <= sent(mta.machine, began).keys())
        seen = sent(mta.machine, began)
        names = [seen[queue_id][1] for queue_id in ids]
        return Counter(name.removeprefix("out-").replace("-", ".") for name in names)

    turns = leave(40)
    # Each message is as likely to leave from one as from the other: less than 8 of 40 are seen
    # once in twenty thousand runs.
    assert turns.keys() == {first, second}
    assert min(turns.values()) >= 8
    blocklist = Blocklist(lab)
    blocklist.change(second, listed=True)
    try:
        look_at_reputation(engine, second)
        wait_for("only the clean one", lambda: rotation(mta.machine) == {first})
        assert leave(10) == {first: 10}
    finally:
        blocklist.change(second, listed=False)
    look_at_reputation(engine, second)
    wait_for("both again", lambda: rotation(mta.machine) == {first, second})


def look_at_reputation(engine: Engine, ip: str) -> None:
    """It is due now."""
    with db.writing(engine) as session:
        addresses.get_by_ip(session, ip).reputation_due_at = utcnow()


def test_two_clusters_have_one_domain_each_with_its_own_selector(
    lab: dict[str, Any],
    operator: Operator,
    client: Client,
    mtas: dict[str, Mta],
) -> None:
    mx1, mx2 = mtas["mx1"], mtas["mx2"]
    operator.ok("mailfleet", "clusters", "remove-mta", client.cluster, "mx2")
    other = operator.ok(
        *("mailfleet", "clusters", "create", "--workspace", "acme", "--region", "lab-2")
    )
    try:
        operator.ok("mailfleet", "clusters", "add-mta", other, "mx2")
        second = Client(client.http, other)
        row = second.domain(DOMAIN)
        assert row["dns_records"]["dkim"]["name"] == f"unmta-{other}._domainkey"
        login1, login2 = client.credential(), second.credential()
        known(mx1.machine, login1)
        known(mx2.machine, login2)
        signed_by(lab, login1, mx1, "unmta")
        signed_by(lab, login2, mx2, f"unmta-{other}")
        # A credential of one is none of the other's.
        for login, foreign in ((login1, mx2), (login2, mx1)):
            with pytest.raises(smtplib.SMTPAuthenticationError):
                login.connect(foreign.at, foreign.tls)
        told = operator.json("mailfleet", "clusters", "status", other)
        assert [row["host"] for row in told["mtas"]] == ["mx2"]
    finally:
        Client(client.http, other).clear()
        operator.run("mailfleet", "clusters", "remove-mta", other, "mx2")
        operator.ok("mailfleet", "clusters", "remove", other)
        operator.ok("mailfleet", "clusters", "add-mta", client.cluster, "mx2")
    assert len(client.data("GET", "/mtas")) == 2
