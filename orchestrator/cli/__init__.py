"""The commands ``mailfleet`` and ``reconcile``."""

from orchestrator.cli import (
    addresses,
    certificates,
    domains,
    history,
    hosts,
    rollouts,
    serve,
    status,
    tenants,
    zones,
)
from orchestrator.cli.app import entry
from orchestrator.cli.reconcile import reconcile_commands
from orchestrator.cli.rollback import rollback
from orchestrator.cli.run import run
from orchestrator.lab.cli import lab


@entry(
    "Mailfleet: a control plane for dedicated-IP e-mail.\n\n"
    "Example: `mailfleet hosts add mx1 --hostname mx1.fleet.net --address 198.51.100.11`"
)
def mailfleet() -> None:
    """Everything but the passes over hosts, which are ``reconcile``'s."""


@entry(
    "Make the hosts be what the database says, and prove it.\n\n"
    "Exit codes: 0 converged, 1 failure, 2 changes pending, 64 wrong usage.\n\n"
    "Example: `reconcile plan --host mx1`"
)
def reconcile() -> None:
    """The operator's command."""


for command in (
    hosts.hosts,
    addresses.addresses,
    certificates.certificates,
    zones.zones,
    tenants.workspaces,
    tenants.keys,
    domains.domains,
    tenants.mailboxes,
    serve.serve,
    serve.db,
    lab,
    reconcile,
):
    mailfleet.add_command(command)
reconciling = (
    *reconcile_commands,
    status.status,
    history.history,
    history.show_run,
    rollback,
    rollouts.rollout,
    run,
)
for command in reconciling:
    reconcile.add_command(command)
