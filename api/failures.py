"""What every dialect does about failures that are no client's: log them, and tell nothing of it."""

import logging
from typing import Any

from litestar import Request
from sqlalchemy.exc import OperationalError

AnyRequest = Request[Any, Any, Any]

#: What a client is told to wait while the database or another service is away.
RETRY_AFTER = {"Retry-After": "5"}

logger = logging.getLogger("mailfleet.api")


def log_defect(request: AnyRequest, error: Exception) -> None:
    """Something that must not happen, with where it did."""
    logger.error("%s %r failed", request.method, request.url.path, exc_info=error)


def log_away(request: AnyRequest, error: object) -> None:
    """Something that we need is away: nothing has been recorded, and it may be tried again."""
    logger.error("%s %r: %s", request.method, request.url.path, error)


def is_outage(error: OperationalError) -> bool:
    """Whether the database is away or too busy.

    SQLite's driver raises the same for a statement that is wrong.
    """
    return getattr(error.orig, "sqlite_errorname", "") != "SQLITE_ERROR"
