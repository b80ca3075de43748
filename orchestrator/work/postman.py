"""Submits scheduled messages when their time has come."""

import logging
from datetime import timedelta
from uuid import UUID

from sqlalchemy import Engine

from orchestrator.backoff import delay
from orchestrator.db import reading, writing
from orchestrator.errors import Conflict, NotFound, Upstream
from orchestrator.mail import submission
from orchestrator.mail.types import MailboxAccess
from orchestrator.models import Workspace, utcnow
from orchestrator.secrets import Vault
from orchestrator.services import mailboxes, scheduled
from orchestrator.services.scheduled import Task
from orchestrator.settings import Settings

log = logging.getLogger(__name__)

#: Seconds until the first repetition after a temporary failure, and the longest wait.
FIRST_WAIT = 30.0
LONGEST_WAIT = 3600.0


class Postman:
    """One mailbox's message at a time for each thread that calls.

    A message is submitted at least once: where the server took it and the outcome could not be
    written down, it is submitted again with the same Message-ID.
    """

    def __init__(self, engine: Engine, settings: Settings, vault: Vault) -> None:
        self._engine = engine
        self._settings = settings
        self._vault = vault
        self._connections = submission.connections()

    def submit(self, scheduled_id: UUID) -> None:
        """Submit one message if it is due and nobody else has taken it up."""
        with writing(self._engine) as session:
            task = scheduled.take(session, scheduled_id, utcnow())
        if task is None:
            return
        message = scheduled.unseal(self._vault, task)
        try:
            done = submission.submit(self._connections, self._access(task), message)
        except (NotFound, Conflict) as error:
            with writing(self._engine) as session:
                scheduled.failed(session, task, str(error))
        except Upstream as error:
            log.info("scheduled message %s: %s", scheduled_id, error)
            self._not_sent(task, error)
        else:
            with writing(self._engine) as session:
                scheduled.sent(session, task, done)

    def close(self) -> None:
        """Hang up."""
        self._connections.close()

    def _access(self, task: Task) -> MailboxAccess:
        with reading(self._engine) as session:
            workspace = session.get_one(Workspace, task.workspace_id)
            placed = mailboxes.get(session, workspace, task.mailbox_id)
        return mailboxes.access(self._vault, self._settings, placed)

    def _not_sent(self, task: Task, error: Upstream) -> None:
        wait = timedelta(seconds=delay(task.failures + 1, FIRST_WAIT, LONGEST_WAIT))
        with writing(self._engine) as session:
            if error.permanent:
                scheduled.failed(session, task, str(error))
            else:
                scheduled.put_off(session, task, str(error), wait, utcnow())
