"""What every handler works with."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import TypeVar

from sqlalchemy import Engine

from orchestrator import db, payments
from orchestrator.confined import Confined
from orchestrator.mail import imap, submission
from orchestrator.models import utcnow
from orchestrator.registrars.configured import configured
from orchestrator.secrets import Vault
from orchestrator.settings import Settings

T = TypeVar("T")
Clock = Callable[[], datetime]

#: Conversations with mail servers at a time: each may last until its time-out.
MAIL_THREADS = 32


class Core:
    """The database, the master key, the registrar and the settings of one API process."""

    def __init__(self, settings: Settings, clock: Clock = utcnow) -> None:
        self.settings = settings
        self.clock = clock
        self.engine: Engine = db.connect(settings.database_url)
        self.vault = Vault(settings.master_key_file)
        self.payments = payments.from_settings(self.engine, settings)
        #: Sessions with mailboxes, kept for the next request; and what parses and renders.
        self.smtp = submission.connections()
        self.imap = imap.connections()
        self.confined = Confined()
        self.registrar = configured(settings)
        # Of their own, so that slow mail servers never keep other requests waiting.
        self._mail_threads = ThreadPoolExecutor(MAIL_THREADS, thread_name_prefix="mail")

    async def talk(self, conversation: Callable[[], T]) -> T:
        """Run a blocking conversation with a mail server beside the other requests."""
        return await asyncio.get_running_loop().run_in_executor(self._mail_threads, conversation)

    def close(self) -> None:
        """Let go of the database; conversations under way are not waited for."""
        self._mail_threads.shutdown(wait=False, cancel_futures=True)
        self.smtp.close()
        self.imap.close()
        self.confined.close()
        self.engine.dispose()
