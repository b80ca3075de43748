"""The systemd units of the README are ones that both Debians accept."""

import re

import pytest
from labkit import ROOT, Machine

pytestmark = pytest.mark.lab

UNITS = {
    text.splitlines()[0].removeprefix("# "): text
    for text in re.findall(
        r"^```ini\n(.*?)^```", (ROOT / "README.md").read_text(), re.DOTALL | re.MULTILINE
    )
}
#: Where the units expect the commands; systemd looks whether they can be executed.
COMMANDS = ("/opt/mailfleet/bin/mailfleet", "/opt/mailfleet/bin/reconcile")


def test_both_processes_have_one() -> None:
    assert set(UNITS) == {"mailfleet-api.service", "mailfleet-reconciler@.service"}


@pytest.mark.parametrize("name", UNITS)
def test_systemd_accepts_it(machine: Machine, name: str) -> None:
    instance = name.replace("@.", "@1.")
    links = "; ".join(f"ln -s /bin/true {command}" for command in COMMANDS)
    script = (
        "trap 'rm -rf /opt/mailfleet /run/units' EXIT; mkdir -p /opt/mailfleet/bin /run/units;"
        f" {links}; cat > /run/units/{instance};"
        f" systemd-analyze verify --man=no /run/units/{instance}"
    )
    done = machine.run("sh", "-ceu", script, stdin=UNITS[name].encode())
    told = (done.stdout + done.stderr).decode()
    assert done.returncode == 0, told
    # What it does not know or believe it only warns of.
    assert instance not in told, told
