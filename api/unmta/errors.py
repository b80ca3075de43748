"""The dialect's error envelopes: every failure, also the framework's, is answered in one."""

from litestar import Response
from litestar.exceptions import HTTPException, ValidationException
from litestar.openapi import ResponseSpec
from litestar.types import ExceptionHandlersMap
from sqlalchemy.exc import OperationalError

from api.failures import RETRY_AFTER, AnyRequest, is_outage, log_away, log_defect
from api.unmta.requests import Faulty, spoken
from api.unmta.schemas import Failure, ValidationFailure
from orchestrator.errors import (
    Away,
    Conflict,
    Forbidden,
    Invalid,
    NotFound,
    OrchestratorError,
    RateLimited,
    Unauthorized,
    Unavailable,
)

#: The field of what is wrong with the request, but with no field of its body.
REQUEST = "request"
#: That of what is no JSON object.
BODY = "body"

#: Status and message; without one, the core's own is told.
_OURS: dict[type[OrchestratorError], tuple[int, str]] = {
    Unauthorized: (401, "Unauthenticated."),
    Forbidden: (403, ""),
    NotFound: (404, "Not Found"),
    Conflict: (409, ""),
}


def _answer(status: int, message: str, headers: dict[str, str] | None = None) -> Response[Failure]:
    return Response(Failure(message=message), status_code=status, headers=headers)


def _refuse(faults: dict[str, str]) -> Response[Failure]:
    first, *more = faults.values()
    if more:
        first += f" (and {len(more)} more error{'s' if len(more) > 1 else ''})"
    errors = {field: [message] for field, message in faults.items()}
    return Response(ValidationFailure(message=first, errors=errors), status_code=422)


def handle_ours(request: AnyRequest, error: OrchestratorError) -> Response[Failure]:
    """Translate an error of the core."""
    if isinstance(error, Faulty):
        return _refuse(error.faults)
    if isinstance(error, Invalid) or (isinstance(error, Conflict) and error.field):
        field = error.field or REQUEST
        return _refuse({field: _sentence(field, str(error))})
    if isinstance(error, RateLimited):
        return _answer(429, "Too Many Attempts.", {"Retry-After": str(error.retry_after)})
    if isinstance(error, Away | Unavailable):
        return _away(request, error)
    for kind, (status, message) in _OURS.items():
        if isinstance(error, kind):
            headers = {"WWW-Authenticate": "Bearer"} if status == 401 else None
            return _answer(status, message or _sentence(REQUEST, str(error)), headers)
    return handle_unexpected(request, error)


def _sentence(field: str, text: str) -> str:
    # The core's messages begin with the field's name, or are sentences already.
    if text.startswith(f"{field} "):
        text = f"The {spoken(field)} field{text.removeprefix(field)}"
    elif field in {BODY, REQUEST}:
        text = text[0].upper() + text[1:]
    return text if text.endswith(".") else f"{text}."


def handle_http(request: AnyRequest, error: HTTPException) -> Response[Failure]:
    """Translate an error of the framework: routing, decoding, limits."""
    match error.status_code:
        case 404:
            return _answer(404, "Not Found")
        case 405:
            headers = {"Allow": (error.headers or {}).get("allow", "")}
            return _answer(405, "The method is not supported for this route.", headers)
        case 400 if isinstance(error, ValidationException):
            # Litestar looks into no body that is empty; what is in one is checked by ourselves.
            return _refuse({BODY: "The request body is empty."})
        case 413:
            return _answer(413, "The request body is too large.")
        case status if 400 <= status < 500:
            return _refuse({REQUEST: _sentence(REQUEST, error.detail)})
        case _:
            return handle_unexpected(request, error)


def handle_unexpected(request: AnyRequest, error: Exception) -> Response[Failure]:
    """Log what happened; tell the client nothing of it."""
    log_defect(request, error)
    return _answer(500, "Server Error")


def handle_outage(request: AnyRequest, error: OperationalError) -> Response[Failure]:
    """The database is away or too busy: nothing has been recorded, and it may be tried again."""
    if not is_outage(error):
        return handle_unexpected(request, error)
    return _away(request, f"no database: {error.orig}")


def _away(request: AnyRequest, error: object) -> Response[Failure]:
    log_away(request, error)
    return _answer(503, "Service Unavailable", RETRY_AFTER)


#: For the description of every route.
DOCUMENTED = {
    status: ResponseSpec(envelope, description=description, generate_examples=False)
    for status, envelope, description in (
        (401, Failure, "the request lacks a valid API token"),
        (404, Failure, "it doesn't exist, or you have no access to it"),
        (409, Failure, "the Idempotency-Key was used for another request, or one under way"),
        (413, Failure, "the request body is too large"),
        (422, ValidationFailure, "the request failed validation"),
        (429, Failure, "too many requests: see the Retry-After header"),
        (500, Failure, "a defect of the server"),
        (503, Failure, "try again later: see the Retry-After header"),
    )
}

EXCEPTION_HANDLERS: ExceptionHandlersMap = {
    OrchestratorError: handle_ours,
    HTTPException: handle_http,
    OperationalError: handle_outage,
    Exception: handle_unexpected,
}
