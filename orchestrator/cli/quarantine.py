"""``mailfleet addresses check``, ``history``, ``remove``, and the quarantine."""

from collections.abc import Iterator
from contextlib import contextmanager

import rich_click as click
from sqlmodel import Session

from orchestrator.cli.app import CONVERGED, FAILED, App, json_option, pass_app, show
from orchestrator.conditions import Status, Type
from orchestrator.db import reading, writing
from orchestrator.dns import resolver
from orchestrator.errors import NotFound
from orchestrator.models import Address
from orchestrator.services import addresses, conditions, departures, reputation
from orchestrator.services import history as service
from orchestrator.work.reputation import Reputation

LOOKED_AT = (Type.PTR_CONFIRMED, Type.NOT_LISTED)


@contextmanager
def _changing(app: App, ip: str) -> Iterator[tuple[Session, Address]]:
    """The address, that nobody else changes within the block."""
    with writing(app.engine) as session:
        row = reputation.locked(session, addresses.get_by_ip(session, ip).id)
        assert row is not None
        yield session, row


@click.command()
@click.argument("ip")
@json_option
@pass_app
def check(app: App, ip: str, as_json: bool) -> int:
    """Look at an address's PTR and ask the blocklists about it, now.

    Example: `mailfleet addresses check 198.51.100.21 --json`
    """
    with reading(app.engine) as session:
        key = addresses.get_by_ip(session, ip).id
    Reputation(app.engine, app.settings, resolver.configured(app.settings)).check_all(key)
    with reading(app.engine) as session:
        state = addresses.get_by_ip(session, ip).state
        seen = conditions.get_all(session, [key])
    rows = [
        {
            "ip": ip,
            "state": str(state),
            "condition": str(type_),
            "status": str(seen[key, type_].status),
            "reason": str(seen[key, type_].reason),
            "message": seen[key, type_].message,
        }
        for type_ in LOOKED_AT
    ]
    show(rows, as_json=as_json)
    holds = all(seen[key, type_].status is Status.TRUE for type_ in LOOKED_AT)
    return CONVERGED if holds else FAILED


@click.command()
@click.argument("ip")
@click.option("--reason", required=True, help="A line for those who wonder.")
@pass_app
def quarantine(app: App, ip: str, reason: str) -> None:
    """Keep an address from tenants, until `release-quarantine`.

    Example: `mailfleet addresses quarantine 198.51.100.22 --reason "a customer complains"`
    """
    with _changing(app, ip) as (session, row):
        reputation.quarantine(session, row, reason)
    click.echo(f"{ip} is quarantined")


@click.command("release-quarantine")
@click.argument("ip")
@pass_app
def release_quarantine(app: App, ip: str) -> None:
    """Let an address out of the quarantine; it is looked at before it is free.

    Example: `mailfleet addresses release-quarantine 198.51.100.22`
    """
    with _changing(app, ip) as (session, row):
        reputation.release(session, row)
    click.echo(f"{ip} is looked at again")


@click.command()
@click.argument("ip")
@pass_app
def remove(app: App, ip: str) -> None:
    """Take an address that no tenant has out of the pool; its history stays.

    Example: `mailfleet addresses remove 198.51.100.28`
    """
    with _changing(app, ip) as (session, row):
        departures.remove(session, row)
    click.echo(f"{ip} is in the pool no more")


@click.command()
@click.argument("ip")
@json_option
@pass_app
def history(app: App, ip: str, as_json: bool) -> None:
    """Show all that happened to an address, also to one that is in the pool no more.

    Example: `mailfleet addresses history 198.51.100.21 --json`
    """
    with reading(app.engine) as session:
        rows = [entry.as_dict() for entry in service.of(session, ip)]
    if not rows:
        raise NotFound(f"{ip} was never in the pool")
    show(rows, as_json=as_json)
