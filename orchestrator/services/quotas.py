"""How much mail a mailbox may hold."""

from uuid import UUID

from sqlmodel import Session

from orchestrator.errors import Invalid
from orchestrator.models import Workspace
from orchestrator.services import mailboxes
from orchestrator.services.mailboxes import Placed
from orchestrator.services.rows import lock
from orchestrator.services.wake import wake_workspace
from orchestrator.settings import Settings


def set_(
    session: Session, settings: Settings, workspace: Workspace, mailbox_id: UUID, quota_mib: int
) -> Placed:
    """Let the mailbox hold so many MiB; mail that it holds already stays, whatever its size.

    :raises Invalid: when it is less than one, or more than the operator allows.
    """
    if not 1 <= quota_mib <= settings.mailbox_quota_max_mib:
        raise Invalid(
            f"quotaMib is not between 1 and {settings.mailbox_quota_max_mib}", field="quotaMib"
        )
    lock(session, Workspace, [workspace.id])
    placed = mailboxes.get(session, workspace, mailbox_id)
    placed.mailbox.quota_mib = quota_mib
    session.add(placed.mailbox)
    session.flush()
    wake_workspace(session, workspace.id)
    return placed
