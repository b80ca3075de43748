"""How hosts fail: always with a reason that an operator can act on."""

from orchestrator.conditions import Reason
from orchestrator.errors import OrchestratorError


class HostError(OrchestratorError):
    """Something on a host, or on the way to it, failed; nothing there is half done.

    ``str(error)`` tells what was seen and holds no secret.
    """

    kind = "host"

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class OtherDebianError(HostError):
    """The host runs another Debian than it did, as after an upgrade in place.

    :param os: the one that it runs now, which is supported.
    """

    def __init__(self, before: str, os: str) -> None:
        super().__init__(Reason.UNSUPPORTED_OS, f"was {before}, now runs {os}")
        self.os = os
