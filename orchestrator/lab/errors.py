"""What the lab says when it can't go on."""

from typing import ClassVar

from orchestrator.errors import OrchestratorError


class LabError(OrchestratorError):
    """The lab can't be built, started or changed; the message says what to do about it."""

    kind: ClassVar[str] = "lab"
