"""Hosts stay what they must be: drift is shown and put back, on both Debian versions."""

from collections.abc import Iterator

import pytest
from labkit import Machine, Operator, wait_for

pytestmark = pytest.mark.lab


@pytest.fixture
def paused(operator: Operator, machine: Machine) -> Iterator[Machine]:
    """The machine, left alone by the running reconciler until the test ends."""
    operator.ok("mailfleet", "hosts", "pause", machine.name)
    yield machine
    operator.ok("mailfleet", "hosts", "resume", machine.name)
    wait_for(f"{machine.name} to converge", lambda: converged(operator, machine))


def converged(operator: Operator, machine: Machine) -> bool:
    plan = operator.json("reconcile", "plan", "--host", machine.name)
    return plan[0]["reason"] is None and not plan[0]["changes"]


def changes(operator: Operator, machine: Machine) -> dict[str, str]:
    plan = operator.json("reconcile", "plan", "--host", machine.name)
    assert plan[0]["reason"] is None, plan
    return {change["subject"]: change["action"] for change in plan[0]["changes"]}


def test_a_second_apply_has_nothing_to_do(operator: Operator, machine: Machine) -> None:
    assert "nothing to do" in operator.ok("reconcile", "apply", "--host", machine.name, "--yes")
    assert "nothing to do" in operator.ok("reconcile", "plan", "--host", machine.name)


def test_an_edited_file_is_shown_as_a_diff_and_put_back(
    operator: Operator, paused: Machine
) -> None:
    paused.sh("printf '# by hand\\n' >> /etc/postfix/main.cf")
    shown = operator.run("reconcile", "plan", "--host", paused.name)
    assert shown.returncode == 2, shown.stderr
    assert "-# by hand" in shown.stdout
    operator.ok("mailfleet", "hosts", "resume", paused.name)
    wait_for("the file as it was", lambda: "by hand" not in paused.sh("cat /etc/postfix/main.cf"))


def test_a_secret_is_never_part_of_a_diff(operator: Operator, paused: Machine) -> None:
    before = paused.sh("cat /etc/dovecot/users")
    paused.sh("printf 'mallory:{PLAIN}x::::\\n' >> /etc/dovecot/users")
    shown = operator.run("reconcile", "plan", "--host", paused.name)
    assert "/etc/dovecot/users" in shown.stdout
    assert "mallory" not in shown.stdout
    assert before.splitlines()[0].split(":")[1] not in shown.stdout


def test_loosened_permissions_are_drift(operator: Operator, paused: Machine) -> None:
    paused.sh("chmod 0644 /etc/dovecot/users")
    assert changes(operator, paused)["/etc/dovecot/users"] == "update"


def test_a_leftover_key_is_removed(operator: Operator, paused: Machine) -> None:
    paused.sh("touch /etc/opendkim/keys/left.over")
    assert changes(operator, paused)["/etc/opendkim/keys/left.over"] == "delete"
    operator.ok("mailfleet", "hosts", "resume", paused.name)
    wait_for(
        "its removal", lambda: paused.run("test", "-e", "/etc/opendkim/keys/left.over").returncode
    )


@pytest.mark.parametrize("daemon", ["dovecot", "opendkim", "postfix"])
def test_a_stopped_daemon_is_started(operator: Operator, paused: Machine, daemon: str) -> None:
    paused.sh(f"systemctl stop {daemon}")
    assert daemon in changes(operator, paused)
    operator.ok("mailfleet", "hosts", "resume", paused.name)
    probe = {"dovecot": "doveadm who", "opendkim": "pgrep opendkim", "postfix": "postfix status"}
    wait_for(f"{daemon} to run", lambda: paused.run("sh", "-c", probe[daemon]).returncode == 0)


def test_a_full_disk_is_a_condition_and_changes_nothing(
    operator: Operator, paused: Machine
) -> None:
    before = paused.sh("cat /etc/postfix/main.cf")
    paused.sh(
        "cp -a /var/lib/mailfleet /tmp/kept && mount -t tmpfs -o size=64k tmpfs /var/lib/mailfleet"
        " && cp -a /tmp/kept/generation /var/lib/mailfleet/"
        " && printf '# by hand\\n' >> /etc/postfix/main.cf"
    )
    try:
        operator.ok("mailfleet", "hosts", "resume", paused.name)
        done = operator.run("reconcile", "apply", "--host", paused.name, "--yes")
        assert done.returncode == 1
        assert "DiskFull" in done.stdout
        assert paused.sh("cat /etc/postfix/main.cf") == before + "# by hand\n"
        assert not paused.sh("find /etc -name '*.mailfleet-new'")
        assert paused.run("postfix", "status").returncode == 0
    finally:
        paused.sh("umount /var/lib/mailfleet")
    wait_for("convergence", lambda: converged(operator, paused))


def test_apt_failing_is_a_condition_and_the_host_still_serves(
    operator: Operator, paused: Machine
) -> None:
    paused.sh("apt-get remove -y -q ca-certificates && mv /var/cache/apt/archives /root/archives")
    try:
        operator.ok("mailfleet", "hosts", "resume", paused.name)
        done = operator.run("reconcile", "apply", "--host", paused.name, "--yes")
        assert done.returncode == 1
        assert "PackagesFailed" in done.stdout
        assert paused.run("postfix", "status").returncode == 0
    finally:
        paused.sh("rm -rf /var/cache/apt/archives && mv /root/archives /var/cache/apt/archives")
    wait_for("the package", lambda: converged(operator, paused))
    assert "ii" in paused.sh("dpkg-query -W -f '${db:Status-Abbrev}' ca-certificates")
