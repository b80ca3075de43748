"""Aliases: further addresses of a mailbox, for mail to it and for mail from it."""

from uuid import UUID

from sqlmodel import Session, col, func, select

from orchestrator.errors import Conflict, NotFound
from orchestrator.models import Alias, Workspace
from orchestrator.services import mailboxes, validation
from orchestrator.services.rows import lock, unique
from orchestrator.services.wake import wake_workspace

#: How many a mailbox may have.
MAX_ALIASES = 50


def add(session: Session, workspace: Workspace, mailbox_id: UUID, email: str) -> Alias:
    """Give the mailbox another address, of one of the workspace's domains.

    :raises Invalid: when the address is malformed.
    :raises Conflict: when its domain is not on the workspace, or a mailbox or an alias has it
        already, or the mailbox has as many as it may.
    """
    email = validation.email(email, field="email")
    lock(session, Workspace, [workspace.id])
    mailbox = mailboxes.get(session, workspace, mailbox_id).mailbox
    domains = mailboxes.domains_of(session, workspace, [email])
    mailboxes.require_new(session, workspace, [email])
    count = select(func.count()).where(Alias.mailbox_id == mailbox.id)
    if session.exec(count).one() >= MAX_ALIASES:
        raise Conflict(f"a mailbox has at most {MAX_ALIASES} aliases")
    alias = Alias(
        workspace_id=workspace.id,
        mailbox_id=mailbox.id,
        domain_id=domains[email.rpartition("@")[2]].id,
        email=email,
    )
    with unique(session, f"the alias {email} exists already"):
        session.add(alias)
    wake_workspace(session, workspace.id)
    return alias


def list_(session: Session, workspace: Workspace, mailbox_id: UUID) -> list[Alias]:
    """The mailbox's aliases, oldest first."""
    mailbox = mailboxes.get(session, workspace, mailbox_id).mailbox
    rows = select(Alias).where(Alias.mailbox_id == mailbox.id)
    return list(session.exec(rows.order_by(col(Alias.id))))


def delete(session: Session, workspace: Workspace, mailbox_id: UUID, email: str) -> str:
    """Take an alias away; mail to it is refused from the next pass on.

    :returns: the alias as it was.
    :raises NotFound: when the mailbox has no such alias.
    """
    lock(session, Workspace, [workspace.id])
    wanted = email.lower()
    rows = list_(session, workspace, mailbox_id)
    alias = next((row for row in rows if row.email == wanted), None)
    if alias is None:
        raise NotFound("the mailbox has no such alias")
    session.delete(alias)
    session.flush()
    wake_workspace(session, workspace.id)
    return wanted
