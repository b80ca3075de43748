"""Workspaces: the tenants."""

import secrets

from sqlmodel import Session, select

from orchestrator.errors import Invalid, NotFound
from orchestrator.models import Workspace
from orchestrator.services import validation
from orchestrator.services.rows import unique


def create(session: Session, *, slug: str, name: str, currency: str = "usd") -> Workspace:
    """Open a workspace, with the token that will prove its domains.

    :raises Conflict: when the slug is taken.
    """
    if len(currency) != 3 or not currency.isascii() or not currency.isalpha():
        raise Invalid("currency is not a three-letter code (ISO 4217)", field="currency")
    row = Workspace(
        slug=validation.slug(slug),
        name=validation.display_name(name),
        currency=currency.lower(),
        verification_token=secrets.token_hex(16),
    )
    with unique(session, f"a workspace {row.slug} exists already"):
        session.add(row)
    return row


def get_by_slug(session: Session, slug: str) -> Workspace:
    """The workspace of that slug."""
    row = session.exec(select(Workspace).where(Workspace.slug == slug)).first()
    if row is None:
        raise NotFound(f"there is no workspace {slug}")
    return row


def list_(session: Session) -> list[Workspace]:
    """All workspaces, by slug."""
    return list(session.exec(select(Workspace).order_by(Workspace.slug)))
