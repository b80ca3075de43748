"""Who may log in to a mailbox: its password, and whether it is suspended."""

from uuid import UUID

from sqlmodel import Session

from orchestrator.errors import Conflict
from orchestrator.models import Mailbox, Workspace, utcnow
from orchestrator.secrets import Vault, hash_chosen, hash_password, new_password
from orchestrator.services import mailboxes, validation
from orchestrator.services.mailboxes import Placed
from orchestrator.services.rows import lock
from orchestrator.services.wake import wake_workspace


def set_password(
    session: Session,
    vault: Vault,
    workspace: Workspace,
    mailbox_id: UUID,
    chosen: str | None = None,
) -> tuple[Placed, str]:
    """Give a mailbox another password. With the next pass the old one and its sessions end.

    :param chosen: by default one of 190 random bits is made.
    :returns: the mailbox, and the password: the only time that it is told.
    :raises Invalid: when the chosen one is too short, too long or can't be typed.
    """
    # Before the first query: on SQLite that starts the transaction, and hashing takes time.
    if chosen is None:
        password = new_password()
        hashed = hash_password(password)
    else:
        password = validation.password(chosen)
        hashed = hash_chosen(password)
    encrypted = vault.encrypt(password)
    placed = _locked(session, workspace, mailbox_id)
    placed.mailbox.password, placed.mailbox.password_hash = encrypted, hashed
    _changed(session, placed.mailbox)
    return placed, password


def suspend(session: Session, workspace: Workspace, mailbox_id: UUID) -> Placed:
    """Let nobody log in to the mailbox, nor send from it; mail to it is kept all the same.

    :raises Conflict: when it is suspended already.
    """
    placed = _locked(session, workspace, mailbox_id)
    if placed.mailbox.suspended_at is not None:
        raise Conflict(f"the mailbox {placed.mailbox.email} is suspended already")
    placed.mailbox.suspended_at = utcnow()
    _changed(session, placed.mailbox)
    return placed


def resume(session: Session, workspace: Workspace, mailbox_id: UUID) -> Placed:
    """End a suspension: the password is what it was.

    :raises Conflict: when the mailbox is not suspended.
    """
    placed = _locked(session, workspace, mailbox_id)
    if placed.mailbox.suspended_at is None:
        raise Conflict(f"the mailbox {placed.mailbox.email} is not suspended")
    placed.mailbox.suspended_at = None
    _changed(session, placed.mailbox)
    return placed


def _locked(session: Session, workspace: Workspace, mailbox_id: UUID) -> Placed:
    lock(session, Workspace, [workspace.id])
    return mailboxes.get(session, workspace, mailbox_id)


def _changed(session: Session, mailbox: Mailbox) -> None:
    mailbox.login_since = utcnow()
    session.add(mailbox)
    session.flush()
    wake_workspace(session, mailbox.workspace_id)
