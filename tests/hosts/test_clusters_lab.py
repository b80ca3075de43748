"""Clusters on each Debian: who may submit, as whom and from where, and where it leaves from."""

import contextlib
import re
import smtplib
import ssl
import subprocess
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from blocklistkit import Blocklist
from imapclient import IMAPClient
from labkit import Machine, Operator, rest_is_over, wait_for
from mtakit import DOMAIN, Client, Login, cluster_of, known, sent, submit
from sqlalchemy import Engine

from orchestrator import db
from orchestrator.lab.demo import World
from orchestrator.models import utcnow
from orchestrator.services import addresses, hosts, workspaces

pytestmark = pytest.mark.lab

SECOND = "shop.acme-mail.net"
#: Networks that the test's own addresses are in, and some that they aren't.
HERE = ["198.51.100.0/24", "2001:db8:51::1"]
ELSEWHERE = ["203.0.113.0/24", "198.51.100.2", "2001:db8:99::/48"]
FOR_GOOD = 550
#: An open session that lost all that it was good for may be told to come back: then it is for good.
REFUSED = (451, FOR_GOOD)


@pytest.fixture(scope="module")
def client(lab: dict[str, Any], engine: Engine) -> Iterator[Client]:
    with cluster_of(lab, engine) as client:
        client.domain(DOMAIN)
        client.domain(SECOND)
        yield client


@pytest.fixture(scope="module")
def wide(client: Client, machines: dict[str, Machine]) -> Login:
    """A credential for all domains, which both hosts know."""
    login = client.credential()
    for machine in machines.values():
        known(machine, login)
    return login


@pytest.fixture(scope="module")
def narrow(client: Client, machines: dict[str, Machine]) -> Login:
    """One for a single domain."""
    login = client.credential(domains=[DOMAIN])
    for machine in machines.values():
        known(machine, login)
    return login


@dataclass(frozen=True)
class Mta:
    """A host of the cluster, as applications and receivers see it."""

    machine: Machine
    at: str
    at6: str
    tls: ssl.SSLContext
    #: Somebody elsewhere.
    walter: str

    @property
    def addresses(self) -> list[str]:
        return list(self.machine.described["dedicated_ips"][:2])


@pytest.fixture(scope="module")
def mtas(lab: dict[str, Any], machines: dict[str, Machine]) -> dict[str, Mta]:
    tls = ssl.create_default_context(cafile=lab["ca"])
    found = {}
    for name, machine in machines.items():
        first, _, sixth = machine.described["dedicated_ips"]
        found[name] = Mta(machine, first, sixth, tls, lab["world"]["mailbox"])
    return found


@pytest.fixture
def mta(machine: Machine, mtas: dict[str, Mta]) -> Mta:
    return mtas[machine.name]


def swaks(
    lab: dict[str, Any], at: str, login: Login, sender: str, *more: str
) -> subprocess.CompletedProcess[str]:
    """An application that knows nothing of Mailfleet."""
    command = [
        *("swaks", "--timeout", "20", "--server", at, "--to", lab["world"]["mailbox"]),
        *("--from", sender, "--auth", "PLAIN"),
        *("--auth-user", login.user, "--auth-password", login.password),
        *("--tls-verify", "--tls-ca-path", lab["ca"]),
    ]
    mode = more or ("--tls", "--port", "587", "--header", f"From: {sender}")
    return subprocess.run(
        [*command, *mode], capture_output=True, text=True, timeout=60, check=False
    )


def test_each_kind_of_credential(
    lab: dict[str, Any], client: Client, wide: Login, narrow: Login, mta: Mta
) -> None:
    from_here = client.credential(domains=[DOMAIN], allowed_ips=HERE)
    from_elsewhere = client.credential(allow_all_domains=True, allowed_ips=ELSEWHERE)
    known(mta.machine, from_elsewhere)
    tls_from_the_start = ("--tlsc", "--port", "465")
    for login, server, sender, mode in [
        (wide, mta.at, f"a@{DOMAIN}", ()),
        (wide, mta.at, f"a@{SECOND}", tls_from_the_start),
        (narrow, mta.at, f"News@{DOMAIN.upper()}", ()),
        (from_here, mta.at, f"a@{DOMAIN}", ()),
        (from_here, mta.at6, f"a@{DOMAIN}", tls_from_the_start),
        (Login(wide.user.upper(), wide.password), mta.at, f"a@{DOMAIN}", ()),
    ]:
        done = swaks(lab, server, login, sender, *mode)
        assert done.returncode == 0, done.stdout
    for login, server, sender, answer in [
        (narrow, mta.at, f"a@{SECOND}", "550 5.7.1"),
        (from_here, mta.at6, f"a@{SECOND}", "550 5.7.1"),
        (wide, mta.at, "a@worldpost.org", "550 5.7.1"),
        (wide, mta.at, "alice@acme-mail.net", "550 5.7.1"),
        (wide, mta.at, f"a@sub.{DOMAIN}", "550 5.7.1"),
        (from_elsewhere, mta.at, f"a@{DOMAIN}", "535 5.7.8"),
        (from_elsewhere, mta.at6, f"a@{DOMAIN}", "535 5.7.8"),
        (Login(wide.user, "wrong"), mta.at, f"a@{DOMAIN}", "535 5.7.8"),
    ]:
        done = swaks(lab, server, login, sender)
        assert answer in done.stdout, (login.user, sender, done.stdout)


@pytest.mark.parametrize(
    ("header", "envelope"),
    [
        (f"a@{SECOND}", f"a@{DOMAIN}"),
        (f"a@{DOMAIN}", f"a@{SECOND}"),
        (f'"a@{DOMAIN}" <a@{SECOND}>', f"a@{DOMAIN}"),
        (f"a@{DOMAIN}, b@{DOMAIN}", f"a@{DOMAIN}"),
        (f"a@{DOMAIN}\nSender: a@{SECOND}", f"a@{DOMAIN}"),
        (f"a@{DOMAIN}\nFrom: a@{SECOND}", f"a@{DOMAIN}"),
    ],
)
def test_neither_envelope_nor_from_may_be_anothers(
    lab: dict[str, Any], narrow: Login, mta: Mta, header: str, envelope: str
) -> None:
    data = f"From: {header}\nSubject: forged\n\nx\n"
    done = swaks(lab, mta.at, narrow, envelope, "--tls", "--port", "587", "--data", data)
    assert "550 5.7.1" in done.stdout, done.stdout


def test_the_envelope_may_be_another_of_its_domains(wide: Login, mta: Mta) -> None:
    with wide.connect(mta.at, mta.tls) as session:
        assert submit(session, f"news@{DOMAIN}", mta.walter, envelope=f"bounces+17@{SECOND}")


def test_a_credential_is_for_submission_alone(wide: Login, mta: Mta) -> None:
    with (
        IMAPClient(mta.at, ssl_context=mta.tls, timeout=20) as imap,
        pytest.raises(IMAPClient.Error, match="disabled"),
    ):
        imap.login(wide.user, wide.password)
    with smtplib.SMTP(mta.at, 25, timeout=20) as mx:
        mx.starttls(context=mta.tls)
        with pytest.raises(smtplib.SMTPNotSupportedError):
            mx.login(wide.user, wide.password)


def told(session: smtplib.SMTP, sender: str, to: str) -> int:
    """What the server answers to a message."""
    try:
        submit(session, sender, to)
    except smtplib.SMTPDataError as error:
        return error.smtp_code
    return 250


@contextlib.contextmanager
def within_a_second(session: smtplib.SMTP, sender: str, to: str, *codes: int) -> Iterator[None]:
    """A second after the block, and no later, the session's messages are answered so."""
    yield
    answered = time.monotonic()
    time.sleep(0.9)
    assert told(session, sender, to) in codes
    assert time.monotonic() < answered + 2


def test_a_change_is_felt_within_a_second_by_open_sessions(client: Client, mta: Mta) -> None:
    login = client.credential(domains=[DOMAIN])
    known(mta.machine, login)
    path = f"/credentials/{login.user}"
    with login.connect(mta.at, mta.tls) as session:
        assert told(session, f"a@{DOMAIN}", mta.walter) == 250
        assert told(session, f"a@{SECOND}", mta.walter) == FOR_GOOD
        with within_a_second(session, f"a@{SECOND}", mta.walter, 250):
            client.data("PUT", path, {"domains": [SECOND]})
        assert told(session, f"a@{DOMAIN}", mta.walter) == FOR_GOOD
        with within_a_second(session, f"a@{DOMAIN}", mta.walter, 250):
            client.data("PUT", path, {"allow_all_domains": True})
        with within_a_second(session, f"a@{DOMAIN}", mta.walter, FOR_GOOD):
            client.data("PUT", path, {"allowed_ips": ELSEWHERE})
        with within_a_second(session, f"a@{DOMAIN}", mta.walter, 250):
            client.data("PUT", path, {"allow_all_ips": True})
        with within_a_second(session, f"a@{DOMAIN}", mta.walter, *REFUSED):
            client.gone(path)
    with pytest.raises(smtplib.SMTPAuthenticationError):
        login.connect(mta.at, mta.tls)


def test_one_made_anew_does_not_take_over_an_open_session(client: Client, mta: Mta) -> None:
    login = client.credential()
    known(mta.machine, login)
    with login.connect(mta.at, mta.tls) as session:
        assert told(session, f"a@{DOMAIN}", mta.walter) == 250
        client.gone(f"/credentials/{login.user}")
        made = client.call(
            "POST", "/credentials", {"user": login.user, "allow_all_domains": True}
        ).json()
        again = Login(login.user, made["password"])
        wait_for("the new password", lambda: works(again, mta))
        assert told(session, f"a@{DOMAIN}", mta.walter) in REFUSED


def works(login: Login, mta: Mta) -> bool:
    try:
        login.connect(mta.at, mta.tls).quit()
    except smtplib.SMTPAuthenticationError:
        return False
    return True


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


def test_a_deleted_domain_is_refused_and_its_credential_with_it(client: Client, mta: Mta) -> None:
    name = "gone.acme-mail.net"
    client.domain(name)
    login = client.credential(domains=[name])
    known(mta.machine, login)
    with login.connect(mta.at, mta.tls) as session:
        assert told(session, f"a@{name}", mta.walter) == 250
        with within_a_second(session, f"a@{name}", mta.walter, *REFUSED):
            client.gone(f"/domains/{name}")
    with login.connect(mta.at, mta.tls) as session:
        assert told(session, f"a@{name}", mta.walter) == FOR_GOOD
    assert client.data("GET", "/credentials")[-1]["domains"] == []
    # Adding it again gives nobody a right that was taken.
    client.domain(name)
    with login.connect(mta.at, mta.tls) as session:
        assert told(session, f"a@{name}", mta.walter) == FOR_GOOD
    client.gone(f"/domains/{name}")


def test_an_unverified_domain_is_refused(client: Client, mta: Mta) -> None:
    # Its zone is not ours to write, and nobody copies the record.
    name = "cluster.bring-your-own.net"
    assert client.data("POST", "/domains", {"name": name})["status"] == "pending"
    login = client.credential(domains=[name])
    known(mta.machine, login)
    with login.connect(mta.at, mta.tls) as session:
        assert told(session, f"a@{name}", mta.walter) == FOR_GOOD
    client.gone(f"/domains/{name}")


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
