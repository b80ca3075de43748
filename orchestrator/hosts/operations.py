"""Our own pyinfra operations."""

from collections.abc import Generator

from pyinfra.api.command import StringCommand
from pyinfra.api.operation import operation

from orchestrator.hosts.bundle import COMMAND


@operation(is_idempotent=False)
def generation() -> Generator[StringCommand, None, None]:
    """Bring one packed generation of files into force, or leave everything as it was.

    The bundle comes through ``_stdin``, so that no secret is an argument: arguments are
    logged, and seen in the host's process list. One round trip; stock ``files.put`` is not
    atomic, goes through a predictable name in /tmp and takes a round trip for each step.
    """
    yield StringCommand("sh", "-c", "'" + COMMAND.replace("'", "'\\''") + "'")
