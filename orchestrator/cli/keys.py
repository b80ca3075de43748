"""``mailfleet keys``: the tenants' bearer tokens."""

import re
from datetime import datetime, timedelta
from uuid import UUID

import rich_click as click
from sqlmodel import Session

from orchestrator.cli.app import App, json_option, pass_app, show
from orchestrator.db import reading, writing
from orchestrator.models import ApiKey, Bucket, KeyScope, Workspace, utcnow
from orchestrator.services import keys as service
from orchestrator.services import mailboxes, workspaces

_SCOPES = [str(scope) for scope in KeyScope]
_UNITS = {"m": "minutes", "h": "hours", "d": "days"}


class Period(click.ParamType[timedelta]):
    """A time such as ``90d``, ``12h`` or ``30m``."""

    name = "period"

    def convert(
        self, value: str, param: click.Parameter | None, ctx: click.Context | None
    ) -> timedelta:
        """Read it."""
        found = re.fullmatch(r"([1-9]\d{0,4})([mhd])", value)
        if found is None:
            self.fail(f"{value!r} is not a time such as 90d, 12h or 30m", param, ctx)
        return timedelta(**{_UNITS[found[2]]: int(found[1])})


class RateOption(click.ParamType[tuple[Bucket, str]]):
    """A rate such as ``send=600/100``; the service checks the numbers."""

    name = "bucket=rate"

    def convert(
        self, value: str, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[Bucket, str]:
        """Read it."""
        name, _, rate = value.partition("=")
        if name not in tuple(Bucket):
            self.fail(f"{value!r} is not like send=600/100 ({', '.join(Bucket)})", param, ctx)
        return Bucket(name), rate


@click.group()
def keys() -> None:
    """API keys."""


@keys.command()
@click.option("--workspace", required=True, help="The tenant's slug.")
@click.option("--name", default="cli", show_default=True, help="To recognise it by.")
@click.option(
    "--scope",
    type=click.Choice(_SCOPES),
    default="full",
    show_default=True,
)
@click.option("--mailbox", help="Only for the mail of this mailbox.")
@click.option("--expires", type=Period(), help="After how long it ends, such as 90d.")
@click.option("--allow", multiple=True, metavar="CIDR", help="Only from this network; repeatable.")
@click.option(
    "--rate",
    "rates",
    multiple=True,
    type=RateOption(),
    help="Requests a minute / at once, such as send=600/100; repeatable.",
)
@pass_app
def create(  # noqa: PLR0917 - click passes by name
    app: App,
    workspace: str,
    name: str,
    scope: str,
    mailbox: str | None,
    expires: timedelta | None,
    allow: tuple[str, ...],
    rates: tuple[tuple[Bucket, str], ...],
) -> None:
    """Make an API key and print it: it is shown this once.

    Example: `mailfleet keys create --workspace acme --scope send --expires 90d`
    """
    with writing(app.engine) as session:
        owner = workspaces.get_by_slug(session, workspace)
        limits = service.Limits(
            KeyScope(scope),
            _mailbox(session, owner, mailbox) if mailbox else None,
            utcnow() + expires if expires else None,
            allow,
        )
        _, token = service.create(session, owner, name, limits, rates=dict(rates))
    click.echo(token)


def _mailbox(session: Session, owner: Workspace, email: str) -> UUID:
    return mailboxes.get_by_email(session, owner, email).mailbox.id


@keys.command("list")
@click.option("--workspace", required=True, help="The tenant's slug.")
@json_option
@pass_app
def list_(app: App, workspace: str, as_json: bool) -> None:
    """List a workspace's keys: the first eight characters, what they may, until when, last use.

    Example: `mailfleet keys list --workspace acme`
    """
    with reading(app.engine) as session:
        owner = workspaces.get_by_slug(session, workspace)
        emails = {p.mailbox.id: p.mailbox.email for p in mailboxes.list_(session, owner)}
        rows = [_row(key, emails) for key in service.list_(session, owner)]
    show(rows, as_json=as_json, empty="no key")


def _row(key: ApiKey, emails: dict[UUID, str]) -> dict[str, object]:
    bound = None if key.mailbox_id is None else emails.get(key.mailbox_id, "a deleted mailbox")
    return {
        "id": key.id,
        "name": key.name,
        "begins": key.hint,
        "scope": str(key.scope),
        "mailbox": bound,
        "networks": ", ".join(key.allowed_ips) or None,
        "rates": ", ".join(f"{bucket}={rate}" for bucket, rate in key.rates.items()) or None,
        "expires": _minute(key.expires_at),
        "used": _minute(key.last_used_at),
        "revoked": _minute(key.revoked_at),
    }


def _minute(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat(" ", "minutes")


@keys.command()
@click.argument("key_id", type=click.UUID)
@click.option("--workspace", required=True, help="The tenant's slug.")
@pass_app
def revoke(app: App, key_id: UUID, workspace: str) -> None:
    """Revoke a key; it is refused from now on.

    Example: `mailfleet keys revoke 0192f… --workspace acme`
    """
    with writing(app.engine) as session:
        owner = workspaces.get_by_slug(session, workspace)
        service.revoke(session, owner, key_id)
    click.echo("revoked")
