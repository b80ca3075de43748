"""A mailbox of the caller's, from which messages go: at once, or into the database until later.

No database transaction is open while a mail server or a template is being talked to.
"""

import logging
from collections.abc import Callable
from datetime import datetime
from typing import Any

from api.adbtd import send_schemas as schemas
from api.adbtd import send_translate
from api.adbtd.errors import describe
from api.adbtd.requests import parse_id
from api.adbtd.schemas import Error
from api.auth import Caller
from api.core import Core
from orchestrator.db import reading, writing
from orchestrator.errors import Invalid, OrchestratorError
from orchestrator.mail.submission import submit
from orchestrator.mail.templating import Source
from orchestrator.mail.types import Submission
from orchestrator.models import ScheduledMessage, utcnow
from orchestrator.services import mailboxes, messages, scheduled, templates
from orchestrator.services.messages import Draft

logger = logging.getLogger("mailfleet.api")

Outcome = Submission | ScheduledMessage


class Outbox:
    """What one request sends.

    :raises NotFound: when the mailbox is not the caller's.
    """

    def __init__(self, core: Core, caller: Caller, mailbox_id: str) -> None:
        self._core = core
        self._caller = caller
        with reading(core.engine) as session:
            placed = mailboxes.get(session, caller.workspace, parse_id("mb", mailbox_id))
        self._mailbox = placed.mailbox
        self._access = mailboxes.access(core.vault, core.settings, placed)

    def template(self, template_id: str) -> Source:
        """The parts of one of the caller's templates. Raises ``NotFound``."""
        with reading(self._core.engine) as session:
            row = templates.get(session, self._caller.workspace, parse_id("tpl", template_id))
            return Source(row.subject, row.text, row.html)

    def written(self, data: schemas.SendMessage) -> Draft:
        """The message as it stands in a request, or as its template gives it."""
        draft = send_translate.draft(data)
        if data.template_id is None:
            if data.variables is not None:
                raise Invalid("variables are those of a templateId", field="variables")
            return draft
        if any(part is not None for part in (data.subject, data.text, data.html)):
            raise Invalid("templateId takes the place of subject, text and html", field="subject")
        source = self.template(data.template_id)
        return self.filled(source, [(draft, data.variables or {})])[0]()

    def filled(
        self, source: Source, wanted: list[tuple[Draft, dict[str, Any]]]
    ) -> list[Callable[[], Draft]]:
        """Drafts filled from a template; each gives its own error when it is asked for."""
        return [_given(made) for made in templates.fill(self._core.confined, source, wanted)]

    def send(self, draft: Draft, send_at: datetime | None) -> Outcome:
        """Submit a message now, or keep it until its time."""
        settings = self._core.settings
        if send_at is None:
            prepared = messages.prepare(settings, self._access.email, draft)
            return submit(self._core.smtp, self._access, prepared)
        scheduled.check_time(send_at, utcnow())
        prepared = messages.prepare(settings, self._access.email, draft, date=send_at)
        sealed = scheduled.seal(self._core.vault, prepared)
        with writing(self._core.engine) as session:
            return scheduled.add(
                session,
                self._caller.workspace,
                self._mailbox.id,
                message=prepared,
                sealed=sealed,
                send_at=send_at,
            )

    def attempt(self, write: Callable[[], Draft], send_at: datetime | None) -> Outcome | Error:
        """The same for one message among others: its failure is told, and stops nobody."""
        try:
            return self.send(write(), send_at)
        except OrchestratorError as error:
            known = describe(error)
            if known is not None:
                return known[1]
            logger.exception("a message of a batch failed")
        except Exception:
            logger.exception("a message of a batch failed")
        return Error(code="internal_error", message="unexpected server error")


def _given(made: Draft | Invalid) -> Callable[[], Draft]:
    def give() -> Draft:
        if isinstance(made, Invalid):
            raise made
        return made

    return give
