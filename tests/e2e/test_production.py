"""docs/production.md, from a bare Debian to a delivered message, an upgrade, and back.

Each section's commands run in a container as they stand there, with the lab's names and addresses
in place of the examples', and so do those of the operator's other pages. The hosts of this fleet
are its own; the lab's are left alone.
"""

import imaplib
import json
import os
import re
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import baremetalkit
import docskit
import pytest
from labkit import BIN, ROOT, wait_for
from newcomerkit import CONTROL, FIRST, FLEET, HOST, LAST, TENANT, Client, Newcomer, sections

from orchestrator.issuers.authority import Authority
from orchestrator.lab.access import Lab

pytestmark = [pytest.mark.lab, pytest.mark.own_machines]

#: The lab's addresses are nobody's, and its clock is faster than the world's.
LAB_SETTINGS = """
allow_private_targets = true
dns_interval = 3.0
probe_interval = 5.0
record_ttl = 3
"""
#: Its key, where the line of the newer one stands.
MIGRATION = '''
"""What a later version might bring."""

from alembic import op
import sqlalchemy as sa

revision, down_revision = "{new}", "{old}"


def upgrade() -> None:
    op.create_table("drill", sa.Column("id", sa.Integer, primary_key=True))
'''


#: The operator's pages whose commands are typed on this control plane, too.
PAGES = {
    "conditions.md": None,
    "troubleshooting.md": None,
    "handbook.md": ("Mailfleet's SSH key", "The master key", "The operator's CA"),
}
#: What can't be typed here.
ELSEWHERE = {
    r"curl .*letsencrypt": "leaves the lab",
    r"dig \+trace": "asks the world's root servers",
    r"openssl x509 .*/certificates/": "of another source of certificates",
    r"mailfleet billing sync": "there is no payment service",
    r"mailfleet hosts exec mx1 -- dmesg": "the kernel is not a container's",
}
#: These exit codes tell of the fleet's state.
TELLING = {"reconcile status": 2, "reconcile plan": 2, "MAILFLEET_MASTER_KEY_FILE=": 1}


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """This version, and one to come, whose database is another."""
    copy = tmp_path_factory.mktemp("later") / "mailfleet"
    listing = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(listing, cwd=ROOT, capture_output=True, check=True, text=True)
    for name in filter(None, listed.stdout.split("\0")):
        if (ROOT / name).exists():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            (copy / name).write_bytes((ROOT / name).read_bytes())
    versions = copy / "orchestrator" / "migrations" / "versions"
    newest = max(file.name for file in versions.glob("0*.py"))[:4]
    new = f"{int(newest) + 1:04}"
    (versions / f"{new}_drill.py").write_text(MIGRATION.format(new=new, old=newest))
    now = _build(ROOT, "0.1.0")
    # What both have in common is built once.
    (copy / "dist").mkdir()
    (copy / "dist" / ".build").symlink_to(ROOT / "dist" / ".build")
    return now, _build(copy, "0.2.0")


def _build(checkout: Path, version: str) -> Path:
    command = [str(BIN / "python"), "packaging/build.py", "--version", version]
    # When the last commit was made, it asks git; the copy is no repository.
    environment = {**os.environ, "GIT_DIR": str(ROOT / ".git")}
    done = subprocess.run(
        command,
        cwd=checkout,
        env=environment,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return Path(done.stdout.strip())


@pytest.fixture(scope="module")
def newcomer(
    lab: dict[str, Any], packages: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Newcomer]:
    running = Lab.open(ROOT / ".lab")
    extra = [f"198.51.100.{number}/24" for number in (FIRST, LAST)]
    secret = (ROOT / lab["dns"]["tsig_secret_file"]).read_text().strip()
    with (
        baremetalkit.delegated(running, FLEET, TENANT),
        baremetalkit.booted(running, f"control.{FLEET}", "debian13", CONTROL) as control,
        baremetalkit.booted(running, f"newhost.{FLEET}", "debian12", HOST, extra) as host,
    ):
        control.put(f"/root/{packages[0].name}", packages[0])
        control.put("/root/tsig.secret", ROOT / lab["dns"]["tsig_secret_file"])
        # Root of the control plane may log in at the host, as the page has it.
        control.ok("apt-get install -y openssh-client bind9-dnsutils")
        control.ok("ssh-keygen -q -t ed25519 -N '' -f .ssh/id_ed25519")
        key = control.ok("cat .ssh/id_ed25519.pub")
        host.ok(f"mkdir -p -m 700 .ssh; echo '{key.strip()}' > .ssh/authorized_keys")
        where = f"198.51.100.{CONTROL}"
        baremetalkit.publish(
            lab,
            secret,
            FLEET,
            ("control", 5, "A", where),
            ("api", 5, "A", where),
            ("probe", 5, "MX", f"10 control.{FLEET}."),
        )
        yield Newcomer(control, host, tmp_path_factory.mktemp("ca") / "ca.pem")
    running.client.close()


def test_install_and_start(newcomer: Newcomer) -> None:
    newcomer.follow("Installing")
    newcomer.control.ok(f"cat >> /etc/mailfleet/mailfleet.toml <<'END'\n{LAB_SETTINGS}END")
    newcomer.follow("Settings")
    assert "master key" in newcomer.follow("Keys and database")
    newcomer.follow("The hosts' door")
    newcomer.follow("Starting")
    newcomer.ca.write_text(newcomer.control.ok("cat /var/lib/mailfleet/ca.pem"))


def test_a_fleet_with_a_tenant(newcomer: Newcomer) -> None:
    newcomer.follow("DNS")
    newcomer.follow("Hosts")
    newcomer.follow("Addresses")
    assert "provisioned" in newcomer.follow("The first tenant")


def test_the_first_message_is_delivered(newcomer: Newcomer, lab: dict[str, Any]) -> None:
    newcomer.follow("The first message")
    arrived = wait_for("the message", lambda: _arrived(lab, f"alice@{TENANT}"))
    for verdict in ("spf=pass", "dkim=pass", "dmarc=pass"):
        assert verdict in arrived


def _arrived(lab: dict[str, Any], sender: str) -> str | None:
    world = lab["world"]
    tls = ssl.create_default_context(cafile=lab["ca"])
    with imaplib.IMAP4_SSL(world["address"], ssl_context=tls) as imap:
        imap.login(world["mailbox"], world["password"])
        imap.select("INBOX", readonly=True)
        _, found = imap.search(None, "FROM", sender)
        if not found[0]:
            return None
        _, parts = imap.fetch(found[0].split()[0].decode(), "(BODY.PEEK[HEADER])")
    assert isinstance(parts[0], tuple)
    return parts[0][1].decode()


def test_the_api_in_public(newcomer: Newcomer, lab: dict[str, Any]) -> None:
    issued = Authority(Path(lab["ca"]), ROOT / ".lab" / "ca.key").issue(["api.fleet.net"])
    live = "/etc/letsencrypt/live/api.fleet.net"
    for name, text in (("fullchain.pem", issued.chain), ("privkey.pem", issued.private_key)):
        newcomer.control.ok(f"mkdir -p {live}; cat > {live}/{name} <<'END'\n{text}END")
    newcomer.follow("The API in public")
    newcomer.control.put("/root/lab-ca.pem", Path(lab["ca"]))
    call = "curl -fsS --cacert lab-ca.pem --resolve api.fleet.net:443:127.0.0.1"
    call = f"{call} https://api.fleet.net"
    assert "401" in newcomer.control.run(f"{call}/api/v1/me").stderr
    refused = newcomer.control.run(f"{call}/operator/v1/status")
    assert "403" in refused.stderr
    newcomer.follow("Logs")


def test_the_units_are_what_they_should_be(newcomer: Newcomer) -> None:
    """Everything is the service's user's, and root has left nothing that it can't read."""
    control = newcomer.control
    assert control.ok("find /var/lib/mailfleet ! -user mailfleet") == ""
    assert control.ok("find /var/lib/mailfleet -perm /077 ! -type l") == ""
    pids = control.ok("systemctl show -P MainPID mailfleet-api mailfleet-reconciler@1").split()
    for pid in pids:
        assert control.ok(f"ps -o user= -p {pid}").strip() == "mailfleet"


def _typed() -> Iterator[Any]:
    """What is typed on the other pages, each line once."""
    seen: set[str] = set()
    for page, titles in PAGES.items():
        for title, scripts in sections(page).items():
            if titles is not None and title not in titles:
                continue
            lines = [line for script in scripts for line in script.splitlines()]
            here = [line for line in lines if not any(re.match(x, line) for x in ELSEWHERE)]
            new = [line for line in here if line not in seen]
            seen |= set(new)
            if new:
                yield pytest.param(new, id=f"{page}-{title}")


@pytest.fixture(scope="module")
def found(newcomer: Newcomer) -> dict[str, str]:
    """What the pages leave out, or have an example of that can't be known ahead."""
    (run,) = json.loads(newcomer.control.ok("reconcile history mx1 --limit 1 --json"))
    key = newcomer.host.ok("ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub").split()[1]
    return {"019ab3c4": run["run"], "SHA256:…": key}


@pytest.mark.parametrize("lines", list(_typed()))
def test_the_commands_of_another_page(
    newcomer: Newcomer, found: dict[str, str], lines: list[str]
) -> None:
    for line in lines:
        script = line
        for example, ours in found.items():
            script = script.replace(example, ours)
        done = newcomer.control.run(f"umask 077; {script}")
        most = max((code for start, code in TELLING.items() if script.startswith(start)), default=0)
        assert done.returncode <= most, f"{script}\n{done.stdout}\n{done.stderr}"


def test_a_backup_every_night(newcomer: Newcomer) -> None:
    """The units of backup.md, and what they leave put back into another database."""
    control = newcomer.control
    control.ok("apt-get install -y age; age-keygen -o key.txt")
    control.ok("age-keygen -y key.txt > /etc/mailfleet/backup.recipients")
    for unit in docskit.blocks(ROOT / "docs" / "backup.md", "ini"):
        name = unit.partition("\n")[0].removeprefix("# ")
        control.ok(f"cat > /etc/systemd/system/{name} <<'END'\n{unit}END")
    control.ok("systemctl daemon-reload")
    for script in sections("backup.md")["Every night"]:
        assert ".age" in control.ok(script)
    opened = "age -d -i key.txt /var/backups/mailfleet/*.age"
    other = "MAILFLEET_DATABASE_URL=sqlite:////var/lib/mailfleet/night.db"
    control.ok(f"{opened} | {other} mailfleet restore -; rm /var/lib/mailfleet/night.db*")


def test_an_upgrade_while_the_hosts_serve(newcomer: Newcomer, packages: tuple[Path, Path]) -> None:
    newcomer.control.put(f"/root/{packages[1].name}", packages[1])
    before = newcomer.control.ok("mailfleet db upgrade")
    with Client(newcomer):
        newcomer.follow("Upgrading Mailfleet")
        newcomer.control.ok("reconcile status --until-converged --timeout 120")
    assert newcomer.looks > 5
    assert not newcomer.failures
    after = newcomer.control.ok("mailfleet db upgrade")
    assert before != after
    assert "0.2.0" in newcomer.control.ok("dpkg-query -W mailfleet")


def test_going_back(newcomer: Newcomer) -> None:
    with Client(newcomer):
        newcomer.follow("Going back")
        assert newcomer.control.ok("reconcile plan --json")
        newcomer.control.ok("mailfleet hosts resume --restored")
        newcomer.control.ok("reconcile status --until-converged --timeout 120")
    assert not newcomer.failures
    assert "0.1.0" in newcomer.control.ok("dpkg-query -W mailfleet")


def test_removing_it(newcomer: Newcomer) -> None:
    newcomer.follow("Removing Mailfleet")
    assert newcomer.control.run("command -v mailfleet").returncode != 0
    assert "master.key" in newcomer.control.ok("ls /var/lib/mailfleet")
    assert newcomer.control.run("systemctl is-active mailfleet-api").stdout.strip() != "active"
