"""What is encrypted in the database, and whether a master key opens all of it."""

from typing import Any

from sqlalchemy import select
from sqlmodel import Session, col

from orchestrator.models import (
    AcmeAccount,
    Certificate,
    DkimKey,
    Mailbox,
    RecordedRequest,
    ScheduledMessage,
    Zone,
)
from orchestrator.secrets import Vault

SEALED: tuple[Any, ...] = (
    col(AcmeAccount.private_key),
    col(Certificate.private_key),
    col(DkimKey.private_key),
    col(Mailbox.password),
    col(RecordedRequest.body),
    col(ScheduledMessage.content),
    col(Zone.tsig_secret),
)
#: Rows held in memory at a time: a message may be large.
ROWS = 50


def require_opened(session: Session, vault: Vault) -> None:
    """Open every stored secret.

    :raises ConfigurationError: when no master key opens one, or there is none.
    """
    vault.encrypt("")  # there is a key, even where nothing needs it yet
    connection = session.connection()
    for column in SEALED:
        stored = select(column).where(column.is_not(None), column != "")
        for secret in connection.execute(stored, execution_options={"yield_per": ROWS}).scalars():
            vault.decrypt(secret)
