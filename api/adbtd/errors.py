"""The dialect's error envelope: every failure, also the framework's, is answered in it."""

from litestar import Response
from litestar.exceptions import HTTPException, ValidationException
from litestar.openapi import ResponseSpec
from litestar.types import ExceptionHandlersMap
from sqlalchemy.exc import OperationalError

from api.adbtd.schemas import Error, Failure
from api.failures import RETRY_AFTER, AnyRequest, is_outage, log_away, log_defect
from orchestrator.errors import (
    Away,
    Conflict,
    Forbidden,
    Invalid,
    NotFound,
    OrchestratorError,
    PaymentRequired,
    RateLimited,
    Unauthorized,
    Unavailable,
    Upstream,
)

_OURS: dict[type[OrchestratorError], tuple[int, str]] = {
    Invalid: (400, "validation_error"),
    Unauthorized: (401, "unauthorized"),
    Forbidden: (403, "forbidden"),
    NotFound: (404, "not_found"),
    Conflict: (409, "conflict"),
    Unavailable: (503, "inventory_unavailable"),
}


def _answer(
    status: int, code: str, message: str, headers: dict[str, str] | None = None
) -> Response[Failure]:
    return Response(
        Failure(error=Error(code=code, message=message)), status_code=status, headers=headers
    )


def handle_ours(request: AnyRequest, error: OrchestratorError) -> Response[Failure]:
    """Translate an error of the core."""
    if isinstance(error, Away):
        return _away(request, error, "a service that this needs is away: try again later")
    if isinstance(error, RateLimited):
        return _answer(429, "rate_limited", str(error), {"Retry-After": str(error.retry_after)})
    known = describe(error)
    if known is None:
        return handle_unexpected(request, error)
    status, described = known
    headers = {"WWW-Authenticate": "Bearer"} if status == 401 else None
    return Response(Failure(error=described), status_code=status, headers=headers)


def describe(error: OrchestratorError) -> tuple[int, Error] | None:
    """An error of the core as status and object; None for one that is our own affair."""
    if isinstance(error, Upstream):
        return 502, Error(code=f"{error.service}_error", message=str(error))
    if isinstance(error, PaymentRequired):
        return 402, Error("payment_required", str(error), error.checkout_url)
    for kind, (status, code) in _OURS.items():
        if isinstance(error, kind):
            return status, Error(code=code, message=str(error))
    return None


def handle_http(request: AnyRequest, error: HTTPException) -> Response[Failure]:
    """Translate an error of the framework: routing, decoding, limits."""
    match error.status_code:
        case 404:
            return _answer(404, "not_found", "there is nothing at this path")
        case 405:
            headers = {"Allow": (error.headers or {}).get("allow", "")}
            return _answer(405, "validation_error", "this path has no such method", headers)
        case 413:
            return _answer(413, "validation_error", "the request body is too large")
        case status if 400 <= status < 500:
            return _answer(400, "validation_error", _explain(error))
        case _:
            return handle_unexpected(request, error)


def _explain(error: HTTPException) -> str:
    if isinstance(error, ValidationException) and isinstance(error.extra, list):
        faults = [f"{fault.get('key', '')}: {fault['message']}" for fault in error.extra]
        return "; ".join(fault.removeprefix(": ") for fault in faults)
    return error.detail


def handle_unexpected(request: AnyRequest, error: Exception) -> Response[Failure]:
    """Log what happened; tell the client nothing of it."""
    log_defect(request, error)
    return _answer(500, "internal_error", "unexpected server error")


def handle_outage(request: AnyRequest, error: OperationalError) -> Response[Failure]:
    """The database is away or too busy: nothing has been recorded, and it may be tried again."""
    if not is_outage(error):
        return handle_unexpected(request, error)
    return _away(request, f"no database: {error.orig}", "the database is away: try again later")


def _away(request: AnyRequest, error: object, message: str) -> Response[Failure]:
    log_away(request, error)
    return _answer(503, "internal_error", message, RETRY_AFTER)


#: For the description of every route.
DOCUMENTED = {
    status: ResponseSpec(Failure, description=description, generate_examples=False)
    for status, description in {
        400: "validation_error: the body or parameters failed validation",
        401: "unauthorized: missing, malformed, expired or revoked bearer token",
        402: "payment_required: no saved payment method, or an unpaid invoice",
        403: "forbidden: the API key lacks this right, or is for other networks",
        404: "not_found: the resource does not exist on this workspace",
        409: "conflict: a uniqueness rule or precondition failed",
        429: "rate_limited: see the Retry-After header",
        500: "internal_error: unexpected server error",
        502: "smtp_error or imap_error: the tenant's mail server refused",
        503: "inventory_unavailable: no free dedicated IPs; internal_error: try again later",
    }.items()
}

EXCEPTION_HANDLERS: ExceptionHandlersMap = {
    OrchestratorError: handle_ours,
    HTTPException: handle_http,
    OperationalError: handle_outage,
    Exception: handle_unexpected,
}
