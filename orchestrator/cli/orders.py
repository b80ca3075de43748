"""``mailfleet orders``: what tenants ordered, and their first order."""

from uuid import UUID

import rich_click as click

from orchestrator import dkim
from orchestrator.cli.app import App, json_option, pass_app, show
from orchestrator.db import reading, writing
from orchestrator.models import Order
from orchestrator.services import orders as service
from orchestrator.services import provisioning, workspaces
from orchestrator.services.provisioning import Verdict


@click.group()
def orders() -> None:
    """Orders of tenants."""


@orders.command()
@click.option("--workspace", required=True, help="The tenant's slug.")
@click.option("--ips", default=1, show_default=True, help="How many dedicated IPs.")
@click.option("--domain", required=True)
@click.option("--mailbox", "emails", multiple=True, help="An address at the domain; repeatable.")
@pass_app
def create(app: App, workspace: str, ips: int, domain: str, emails: tuple[str, ...]) -> None:
    """Place a tenant's first order: addresses, a domain and mailboxes; all of it, or nothing.

    Example: `mailfleet orders create --workspace acme --domain acme.com --mailbox a@acme.com`
    """
    pair = dkim.generate()
    with writing(app.engine) as session:
        owner = workspaces.get_by_slug(session, workspace)
        made = service.first(
            session,
            app.vault,
            app.settings,
            owner,
            ips=ips,
            domain=domain,
            emails=emails,
            pair=pair,
        )
        lines = [f"{order.id} {_what(order)}" for order in made]
    click.echo("\n".join(lines))


@orders.command("list")
@click.option("--workspace", required=True, help="The tenant's slug.")
@json_option
@pass_app
def list_(app: App, workspace: str, as_json: bool) -> None:
    """List a workspace's newest orders and how far they are.

    Example: `mailfleet orders list --workspace acme`
    """
    with reading(app.engine) as session:
        found = service.list_(session, workspaces.get_by_slug(session, workspace))
        rows = [_row(order, provisioning.judge(session, order)) for order in found]
    show(rows, as_json=as_json, empty="no order")


@orders.command("show")
@click.argument("order_id", type=click.UUID)
@click.option("--workspace", required=True, help="The tenant's slug.")
@json_option
@pass_app
def show_order(app: App, order_id: UUID, workspace: str, as_json: bool) -> None:
    """Show one order.

    Example: `mailfleet orders show 0192f… --workspace acme`
    """
    with reading(app.engine) as session:
        order = service.get(session, workspaces.get_by_slug(session, workspace), order_id)
        row = _row(order, provisioning.judge(session, order))
    show([row], as_json=as_json)


def _row(order: Order, verdict: Verdict) -> dict[str, object]:
    return {
        "id": order.id,
        "kind": str(order.kind),
        "what": _what(order),
        "status": str(verdict.status),
        "reason": verdict.reason or None,
        "created": order.created_at.isoformat(" ", "seconds"),
        "settled": order.settled_at and order.settled_at.isoformat(" ", "seconds"),
    }


def _what(order: Order) -> str:
    (what,) = order.detail.values()
    return what if isinstance(what, str) else ", ".join(what)
