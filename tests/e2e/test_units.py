"""The package's units are ones that both Debians accept, and call well protected."""

import pytest
from labkit import ROOT, Machine

pytestmark = pytest.mark.lab

UNITS = {path.name: path.read_text() for path in (ROOT / "packaging").glob("*.service")}
#: What the units start; systemd looks whether it can be executed.
COMMANDS = ("/usr/bin/mailfleet", "/usr/bin/reconcile")
#: The most of systemd's ten points of exposure that a unit may have, in tenths.
EXPOSURE = 15


def test_both_processes_have_one() -> None:
    assert set(UNITS) == {"mailfleet-api.service", "mailfleet-reconciler@.service"}


@pytest.mark.parametrize("name", UNITS)
def test_systemd_accepts_it(machine: Machine, name: str) -> None:
    instance = name.replace("@.", "@1.")
    script = (
        f"trap 'rm -rf {' '.join(COMMANDS)} /run/units' EXIT; mkdir -p /run/units;"
        f" for command in {' '.join(COMMANDS)}; do ln -s /bin/true $command; done;"
        f" cat > /run/units/{instance};"
        f" systemd-analyze verify --man=no /run/units/{instance};"
        f" systemd-analyze security --no-pager --offline=true --threshold={EXPOSURE}"
        f" /run/units/{instance} >&2"
    )
    done = machine.run("sh", "-ceu", script, stdin=UNITS[name].encode())
    told = (done.stdout + done.stderr).decode()
    assert done.returncode == 0, told
    # What verify does not know or believe it only warns of.
    assert not [line for line in told.splitlines() if line.startswith((instance, "/run/units"))]
