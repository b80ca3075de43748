"""What can go wrong, in the core's own words. No HTTP here: each dialect translates."""

from typing import ClassVar


class OrchestratorError(Exception):
    """Base of every error that a caller is expected to handle.

    ``str(error)`` is a sentence for the person who asked; it never holds a secret.
    """

    #: What happened, in one word, for logs and for dialects to match on.
    kind: ClassVar[str] = "error"


class Invalid(OrchestratorError):  # noqa: N818 - named for the state it reports, as in DESIGN
    """The request is malformed or breaks a rule; nothing was changed."""

    kind = "invalid"

    def __init__(self, message: str, *, field: str | None = None) -> None:
        super().__init__(message)
        self.field = field


class Unauthorized(OrchestratorError):  # noqa: N818
    """The credential is missing, malformed, unknown, expired or revoked."""

    kind = "unauthorized"


class Forbidden(OrchestratorError):  # noqa: N818
    """The credential is valid, but not for this; ``str(error)`` says what it lacks."""

    kind = "forbidden"


class RateLimited(OrchestratorError):  # noqa: N818
    """Too many requests with one key; one passes after ``retry_after`` seconds."""

    kind = "rate_limited"

    def __init__(self, message: str, *, retry_after: int) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class NotFound(OrchestratorError):  # noqa: N818
    """Nothing of that id belongs to this workspace."""

    kind = "not_found"


class Conflict(OrchestratorError):  # noqa: N818
    """A uniqueness rule or a precondition on the state failed."""

    kind = "conflict"

    def __init__(self, message: str, *, field: str | None = None) -> None:
        super().__init__(message)
        self.field = field


class Unavailable(OrchestratorError):  # noqa: N818
    """The pool has nothing left to hand out."""

    kind = "unavailable"


class PaymentRequired(OrchestratorError):  # noqa: N818
    """The workspace has to leave a payment method first, at ``checkout_url``."""

    kind = "payment_required"

    def __init__(self, message: str, *, checkout_url: str) -> None:
        super().__init__(message)
        self.checkout_url = checkout_url


class Away(OrchestratorError):  # noqa: N818
    """A service of others that this needs, such as a registrar, failed; it may be tried again.

    What it said is for the operator.
    """

    kind = "away"


class Upstream(OrchestratorError):  # noqa: N818
    """A mail server that we called for the tenant refused or failed.

    ``service`` is ``"smtp"`` or ``"imap"``; ``permanent`` says that trying again is no use.
    """

    kind = "upstream"

    def __init__(self, service: str, message: str, *, permanent: bool = False) -> None:
        super().__init__(message)
        self.service = service
        self.permanent = permanent


class ConfigurationError(OrchestratorError):
    """The settings, the database or the master key can't be used as they are."""

    kind = "configuration"
