"""The commands ``mailfleet`` and ``reconcile``."""

from orchestrator.cli.app import entry

HERE = "orchestrator.cli"


@entry(
    "Mailfleet: a control plane for dedicated-IP e-mail.\n\n"
    "Example: `mailfleet hosts add mx1 --hostname mx1.fleet.net --address 198.51.100.11`",
    {
        "init": f"{HERE}.init:init",
        "hosts": f"{HERE}.hosts:hosts",
        "addresses": f"{HERE}.addresses:addresses",
        "certificates": f"{HERE}.certificates:certificates",
        "registrations": f"{HERE}.registrations:registrations",
        "zones": f"{HERE}.zones:zones",
        "clusters": f"{HERE}.clusters:clusters",
        "workspaces": f"{HERE}.tenants:workspaces",
        "billing": f"{HERE}.billing:billing",
        "users": f"{HERE}.users:users",
        "keys": f"{HERE}.keys:keys",
        "domains": f"{HERE}.domains:domains",
        "mailboxes": f"{HERE}.tenants:mailboxes",
        "orders": f"{HERE}.orders:orders",
        "serve": f"{HERE}.serve:serve",
        "db": f"{HERE}.serve:db",
        "backup": f"{HERE}.backup:backup",
        "restore": f"{HERE}.backup:restore",
        "lab": "orchestrator.lab.cli:lab",
        "reconcile": f"{HERE}:reconcile",
    },
)
def mailfleet() -> None:
    """Everything but the passes over hosts, which are ``reconcile``'s."""


@entry(
    "Make the hosts be what the database says, and prove it.\n\n"
    "Exit codes: 0 converged, 1 failure, 2 changes pending, 64 wrong usage.\n\n"
    "Example: `reconcile plan --host mx1`",
    {
        "plan": f"{HERE}.reconcile:plan",
        "apply": f"{HERE}.reconcile:apply",
        "verify": f"{HERE}.reconcile:verify",
        "run": f"{HERE}.run:run",
        "status": f"{HERE}.status:status",
        "history": f"{HERE}.history:history",
        "show": f"{HERE}.history:show_run",
        "rollback": f"{HERE}.rollback:rollback",
        "rollout": f"{HERE}.rollouts:rollout",
    },
)
def reconcile() -> None:
    """The operator's command."""
