"""Logs as text or as JSON lines; every line of a pass carries its run and its host."""

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any

import msgspec

#: What a line may carry beside its message: from ``about``, or from ``extra`` of the call.
FIELDS = ("run", "host", "outcome", "reason", "changes", "seconds")
#: These log every wake-up and every connection; the first even that it is still at the last one.
QUIET = {
    "apscheduler": logging.ERROR,
    "alembic": logging.WARNING,
    "mail.log": logging.WARNING,
    "paramiko": logging.WARNING,
}
#: Control characters would let a host's answer forge lines, or move a terminal's cursor.
_CONTROLS = {code: f"\\x{code:02x}" for code in (*range(32), 127)} | {10: "\\n", 9: "\\t"}

_about: ContextVar[Mapping[str, str]] = ContextVar("about", default=MappingProxyType({}))


@contextmanager
def about(**fields: object) -> Iterator[None]:
    """Let every line that is logged in the block, by this thread, carry these ``FIELDS``."""
    token = _about.set({**_about.get(), **{name: str(value) for name, value in fields.items()}})
    try:
        yield
    finally:
        _about.reset(token)


def configure(kind: str, level: str) -> None:
    """Send this process's log to standard error.

    :param kind: ``text``, or ``json`` for one object a line.
    :param level: the least level that is written, such as ``info``.
    """
    handler = logging.StreamHandler()
    handler.addFilter(_context)
    handler.setFormatter(JsonFormatter() if kind == "json" else TextFormatter())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    for name, least in QUIET.items():
        logging.getLogger(name).setLevel(max(least, logging.getLogger().level))


def _context(record: logging.LogRecord) -> bool:
    for name, value in _about.get().items():
        if not hasattr(record, name):
            setattr(record, name, value)
    return True


class JsonFormatter(logging.Formatter):
    """One JSON object a line: ts (RFC 3339), level, logger, message, run, host, and what else.

    ``run`` and ``host`` are null outside passes.
    """

    def format(self, record: logging.LogRecord) -> str:
        """Write one line."""
        line: dict[str, Any] = {
            "ts": _time(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            "run": None,
            "host": None,
        }
        line |= _fields(record)
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return msgspec.json.encode(line, enc_hook=str).decode()


class TextFormatter(logging.Formatter):
    """One line for people, its fields at the end as ``name=value``; tracebacks follow it."""

    def format(self, record: logging.LogRecord) -> str:
        """Write one line, and the traceback if there is one."""
        message = record.getMessage().translate(_CONTROLS)
        fields = "".join(f" {name}={value}" for name, value in _fields(record).items())
        line = f"{_time(record)} {record.levelname} {record.name}: {message}{fields}"
        if record.exc_info:
            line += "\n" + self.formatException(record.exc_info)
        return line


def _time(record: logging.LogRecord) -> str:
    moment = datetime.fromtimestamp(record.created, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    return {name: getattr(record, name) for name in FIELDS if hasattr(record, name)}
