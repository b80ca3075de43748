"""Who is asking: the bearer token of a request."""

import asyncio
from typing import Any, NamedTuple

from litestar.connection import ASGIConnection
from litestar.handlers import BaseRouteHandler
from litestar.middleware import AbstractAuthenticationMiddleware, AuthenticationResult
from litestar.types import ASGIApp, Guard

from api.core import Core
from orchestrator.db import reading
from orchestrator.errors import Unauthorized
from orchestrator.models import ApiKey, Workspace
from orchestrator.secrets import same_secret
from orchestrator.services import keys


class Caller(NamedTuple):
    """The workspace that a request acts for, and the key that it came with."""

    workspace: Workspace
    key: ApiKey


def bearer_token(header: str | None) -> str:
    """The token of an Authorization header (RFC 6750).

    :raises Unauthorized: when there is none.
    """
    scheme, _, token = (header or "").strip().partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise Unauthorized("the Authorization header holds no bearer token")
    return token.strip()


def operator_guard(core: Core) -> Guard:
    """Let only requests with the operator's token through; without one, nobody.

    :raises ConfigurationError: when the token's file can't be used.
    """
    expected = core.settings.operator_token()

    def guard(connection: ASGIConnection[Any, Any, Any, Any], _: BaseRouteHandler) -> None:
        given = bearer_token(connection.headers.get("authorization"))
        if expected is None or not same_secret(given, expected):
            raise Unauthorized("this is not the operator's token")

    return guard


class BearerAuthentication(AbstractAuthenticationMiddleware):
    """Lets only requests with a valid API key through, before their body is read."""

    def __init__(self, app: ASGIApp, core: Core, exclude: str) -> None:
        super().__init__(app, exclude=exclude)
        self._core = core

    async def authenticate_request(
        self, connection: ASGIConnection[Any, Any, Any, Any]
    ) -> AuthenticationResult:
        """Find the caller; the database is asked in a thread."""
        token = bearer_token(connection.headers.get("authorization"))
        caller = await asyncio.to_thread(self._identify, token)
        return AuthenticationResult(user=caller, auth=None)

    def _identify(self, token: str) -> Caller:
        with reading(self._core.engine) as session:
            return Caller(*keys.authenticate(session, token))
