"""The message rate of an MTA: what exceeds it is held and leaves later, come what may."""

import ssl
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from labkit import ROOT, Machine, Operator, Tenant, wait_for
from mtakit import DOMAIN, Client, Login, known, log, sent, submit
from processkit import family, paused

pytestmark = pytest.mark.lab

MESSAGES = 100
#: Of `10/10s,max_burst=3`: seconds between two messages, and how many may go at once.
INTERVAL, BURST = 1.0, 3
#: Seconds by which one release may take longer than another, and that the restarts may cost.
JITTER, RESTARTS = 1.0, 15.0


@pytest.fixture(scope="module", autouse=True)
def no_rate_afterwards(client: Client, operator: Operator) -> Iterator[None]:
    yield
    operator.ok("mailfleet", "clusters", "set-rate", client.cluster, "none")


@pytest.fixture
def rate(
    client: Client, operator: Operator, machines: dict[str, Machine]
) -> Callable[[str, str], None]:
    """Sets a rate and waits until both hosts keep it."""

    def kept(machine: Machine, rendered: str) -> bool:
        # The digest is there once Postfix has reloaded.
        reloaded = "test -s /var/lib/mailfleet/applied/postfix"
        same = f"grep -qx '{rendered}' /etc/mailfleet/pace"
        look = f"{reloaded} && {same} && postconf -h credential"
        wanted = "permit" if rendered == "0 0" else "HOLD"
        return wanted in machine.run("sh", "-c", look).stdout.decode()

    def choose(text: str, rendered: str) -> None:
        operator.ok("mailfleet", "clusters", "set-rate", client.cluster, text)
        for machine in machines.values():
            wait_for(text, partial(kept, machine, rendered))
        assert client.row()["max_message_rate"] == (None if text == "none" else text)

    return choose


def send_all(
    lab: dict[str, Any], client: Client, machine: Machine, login: Login, count: int
) -> list[str]:
    """Hand messages in as fast as the host takes them; gives their queue ids."""
    tls = ssl.create_default_context(cafile=lab["ca"])
    at = str(machine.described["dedicated_ips"][0])
    with login.connect(at, tls) as session:
        return [submit(session, f"a@{DOMAIN}", lab["world"]["mailbox"]) for _ in range(count)]


def control_plane() -> list[int]:
    """The lab's API and reconciler, with all that came from them."""
    files = [ROOT / ".lab" / f"{name}.pid" for name in ("api", "reconciler")]
    started = [int(file.read_text().split()[0]) for file in files]
    return [pid for first in started for pid in family(first)]


def releases(machine: Machine, since: float) -> list[tuple[float, str]]:
    """When messages were released, and their queue ids, in that order."""
    lines = log(machine, since, ": released from hold")
    return [(at, said.split(": ")[1]) for at, said in lines if "postfix/postsuper" in said]


def released(machine: Machine, since: float) -> list[str]:
    """The queue ids in the order in which they were released."""
    return [queue_id for _, queue_id in releases(machine, since)]


def test_a_hundred_messages_leave_on_schedule_through_restarts_and_an_outage(
    lab: dict[str, Any],
    client: Client,
    machines: dict[str, Machine],
    rate: Callable[[str, str], None],
    tmp_path: Path,
) -> None:
    login = client.credential()
    for machine in machines.values():
        known(machine, login)
    rate("10/10s,max_burst=3", "1000000 3")
    time.sleep(BURST * INTERVAL)
    began = time.time()
    with ThreadPoolExecutor() as pool:
        futures = {
            name: pool.submit(send_all, lab, client, machine, login, MESSAGES)
            for name, machine in machines.items()
        }
        ids = {name: future.result() for name, future in futures.items()}
    taken = time.time() - began
    assert taken < MESSAGES * INTERVAL / 2, "all are accepted long before they may leave"
    with paused(control_plane()):
        time.sleep(10)
        for machine in machines.values():
            machine.sh("systemctl restart postfix")
        time.sleep(5)
        for machine in machines.values():
            machine.sh("systemctl kill --signal=KILL mailfleet-pace")
        time.sleep(5)
        for machine in machines.values():
            machine.sh("systemctl stop postfix && sleep 4 && systemctl start postfix")
        time.sleep(5)
    lines = []
    for name, machine in machines.items():
        wait_for(f"all of {name}", partial(all_sent, machine, began, ids[name]), 150, every=1)
        seen = sent(machine, began)
        times = sorted(seen[queue_id][0] - began for queue_id in ids[name])
        lines += [f"{name} {number:3d} {at:7.2f} s" for number, at in enumerate(times)]
        (tmp_path / "schedule.txt").write_text("\n".join(lines))
        let_go = [(at, each) for at, each in releases(machine, began) if each in ids[name]]
        order = [each for _, each in let_go]
        assert order == ids[name], "each is released once, in the order in which it was accepted"
        # No stretch of it ever holds more than the rate allows. What was released just before
        # Postfix was stopped leaves together with what came after.
        for first in range(MESSAGES):
            for last in range(first + BURST, MESSAGES):
                least = (last - first - BURST + 1) * INTERVAL - JITTER
                assert let_go[last][0] - let_go[first][0] >= least, (lines, let_go)
        assert times[-1] <= MESSAGES * INTERVAL + RESTARTS, lines
    print("\n".join(lines))  # noqa: T201 - what was asked to be shown


def all_sent(machine: Machine, began: float, ids: list[str]) -> bool:
    return set(ids) <= sent(machine, began).keys()


def test_a_change_of_the_rate_counts_for_what_is_held(
    lab: dict[str, Any],
    client: Client,
    machine: Machine,
    rate: Callable[[str, str], None],
) -> None:
    login = client.credential()
    known(machine, login)
    rate("1/hr,max_burst=1", "3600000000 1")
    # As if nothing had been sent before.
    machine.sh("systemctl stop mailfleet-pace && rm -f /var/lib/mailfleet/pace")
    machine.sh("systemctl start mailfleet-pace")
    began = time.time()
    ids = send_all(lab, client, machine, login, 5)
    wait_for("the first", lambda: ids[0] in sent(machine, began))
    time.sleep(2)
    assert set(ids) & sent(machine, began).keys() == {ids[0]}
    rate("none", "0 0")
    wait_for("the others", partial(all_sent, machine, began, ids), 20)
    assert released(machine, began) == ids


def test_what_an_operator_holds_stays_held(
    machine: Machine, tenant: Tenant, email: str, rate: Callable[[str, str], None]
) -> None:
    """The daemon releases what the rate held, and nothing else."""
    rate("100/s", "10000 100")
    path = f"/mailboxes/{tenant.mailbox(email)['id']}/send"
    # While the queue manager stands still the message can be put on hold.
    machine.sh("kill -STOP $(pgrep -x qmgr)")
    try:
        tenant.data("POST", path, {"to": "walter@worldpost.org", "subject": "x", "text": "x"})
        queue_id = machine.sh("ls /var/spool/postfix/incoming").split()[-1]
        machine.sh(f"postsuper -h {queue_id}")
    finally:
        machine.sh("kill -CONT $(pgrep -x qmgr)")
    time.sleep(2)
    held = machine.sh("ls /var/spool/postfix/hold").split()
    machine.sh(f"postsuper -d {queue_id}")
    assert queue_id in held


def test_an_mta_that_leaves_sends_what_it_holds_first(
    lab: dict[str, Any],
    client: Client,
    operator: Operator,
    machines: dict[str, Machine],
    rate: Callable[[str, str], None],
) -> None:
    machine = machines["mx2"]
    login = client.credential()
    known(machine, login)
    rate("1/hr,max_burst=1", "3600000000 1")
    began = time.time()
    ids = send_all(lab, client, machine, login, 3)
    operator.ok("mailfleet", "clusters", "remove-mta", client.cluster, "mx2", "--no-wait")
    try:
        assert len(client.data("GET", "/mtas")) == 1
        gone = "! grep -q '^app-' /etc/dovecot/credentials"
        wait_for("no credentials", lambda: machine.run("sh", "-c", gone).returncode == 0)
        time.sleep(5)
        assert state(operator, client) == "leaving"
        operator.ok("mailfleet", "clusters", "set-rate", client.cluster, "none")
        wait_for("all of it", partial(all_sent, machine, began, ids), 20)
        wait_for("the end", lambda: state(operator, client) is None)
    finally:
        operator.ok("mailfleet", "clusters", "set-rate", client.cluster, "none")
        wait_for("the end", lambda: state(operator, client) in {None, "active"})
        operator.run("mailfleet", "clusters", "add-mta", client.cluster, "mx2")


def state(operator: Operator, client: Client) -> str | None:
    """What mx2 is to the cluster."""
    rows = operator.json("mailfleet", "clusters", "status", client.cluster)["mtas"]
    return next((str(row["state"]) for row in rows if row["host"] == "mx2"), None)
