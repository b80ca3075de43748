"""docs/production.md, from a bare Debian to a delivered message, an upgrade, and back.

Each section's commands run in a container as they stand there, with the lab's names and addresses
in place of the examples'. The hosts of this fleet are its own; the lab's are left alone.
"""

import imaplib
import os
import re
import smtplib
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import baremetalkit
import docskit
import pytest
from baremetalkit import Bare
from labkit import BIN, ROOT, wait_for

from orchestrator.issuers.authority import Authority
from orchestrator.lab.access import Lab

pytestmark = [pytest.mark.lab, pytest.mark.own_machines]

PAGE = (ROOT / "docs" / "production.md").read_text()
FLEET, TENANT = "newcomer-fleet.net", "newcomer-mail.net"
CONTROL, HOST, FIRST, LAST = 90, 91, 92, 93
#: What stands in the examples, and what it is here; longer ones first.
PLACES = {
    "203.0.113.11-203.0.113.18": f"198.51.100.{FIRST}-198.51.100.{LAST}",
    "113.0.203.in-addr.arpa": "100.51.198.in-addr.arpa",
    "203.0.113.10": f"198.51.100.{HOST}",
    "203.0.113.53": "198.51.100.52",
    "--tsig-name fleet": "--tsig-name mailfleet-lab",
    "somebody@example.org": "walter@worldpost.org",
    "fleet.net": FLEET,
    "acme.com": TENANT,
}
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


def sections() -> dict[str, list[str]]:
    """The commands under each heading, as a newcomer to the lab would type them."""
    found: dict[str, list[str]] = {}
    for part in re.split(r"^##+ ", PAGE, flags=re.MULTILINE)[1:]:
        title, _, text = part.partition("\n")
        blocks = re.findall(r"^```console\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
        scripts = [docskit.typed(block) for block in blocks]
        for example, ours in PLACES.items():
            scripts = [script.replace(example, ours) for script in scripts]
        found[title] = scripts
    return found


SECTIONS = sections()


@dataclass
class Newcomer:
    """The two machines, and a mail client that never stops while it is asked to."""

    control: Bare
    host: Bare
    ca: Path
    failures: list[str] = field(default_factory=list)
    looks: int = 0

    def follow(self, title: str) -> str:
        """Do what a section says; gives what the commands printed."""
        assert SECTIONS[title], f"no commands under {title}"
        return "".join(self.control.ok(script) for script in SECTIONS[title])


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
        control.ok("apt-get install -y openssh-client")
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


class Client:
    """Logs in over IMAP and submits, again and again, at the host of the tenant's mailbox."""

    def __init__(self, newcomer: Newcomer) -> None:
        self._newcomer = newcomer
        self._email = f"alice@{TENANT}"
        command = f"mailfleet mailboxes password {self._email} --workspace acme"
        self._password = newcomer.control.ok(command).strip()
        self._tls = ssl.create_default_context(cafile=newcomer.ca)
        self._tls.check_hostname = False
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> None:
        time.sleep(3)  # a new password is known everywhere by then
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._done.wait(0.5):
            try:
                self._look()
            except (OSError, imaplib.IMAP4.error, smtplib.SMTPException) as error:
                self._newcomer.failures.append(f"{time.ctime()}: {error}")
            self._newcomer.looks += 1

    def _look(self) -> None:
        address = f"198.51.100.{FIRST}"
        with imaplib.IMAP4_SSL(address, ssl_context=self._tls, timeout=10) as imap:
            imap.login(self._email, self._password)
        with smtplib.SMTP(address, 587, timeout=10) as smtp:
            smtp.starttls(context=self._tls)
            smtp.login(self._email, self._password)
            text = f"From: {self._email}\r\nSubject: still here\r\n\r\nYes.\r\n"
            smtp.sendmail(self._email, ["walter@worldpost.org"], text)
