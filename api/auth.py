"""Who is asking, and how often: the bearer token of a request."""

import asyncio
from collections.abc import Callable
from typing import Any, NamedTuple
from uuid import UUID

from litestar.connection import ASGIConnection
from litestar.handlers import BaseRouteHandler
from litestar.middleware import AbstractAuthenticationMiddleware, AuthenticationResult
from litestar.types import ASGIApp, Guard

from api.core import Core
from orchestrator.db import reading, writing
from orchestrator.errors import Unauthorized
from orchestrator.models import ApiKey, Bucket, Workspace
from orchestrator.secrets import same_secret
from orchestrator.services import allowances, keys, rights


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
    """Lets requests with a valid API key through that has the right which the route asks for.

    That is before the body is read. A route declares its right as ``right=Right.READ`` and takes
    the id of a mailbox as ``mailbox_id``. What is let in counts towards the key's rate.

    :param prefix: which kind of token it must be.
    :param parse_mailbox: the key of a mailbox's id in the dialect's form; may raise NotFound.
    :raises ConfigurationError: when a rate of the settings is none.
    """

    def __init__(
        self,
        app: ASGIApp,
        core: Core,
        exclude: str,
        *,
        parse_mailbox: Callable[[str], UUID],
        prefix: str,
    ) -> None:
        super().__init__(app, exclude=exclude)
        self._core = core
        self._parse_mailbox = parse_mailbox
        self._prefix = prefix
        self._rates = allowances.of_settings(core.settings)

    async def authenticate_request(
        self, connection: ASGIConnection[Any, Any, Any, Any]
    ) -> AuthenticationResult:
        """Find the caller; the database is asked in a thread."""
        # One trip to a thread for all of it: waking one up costs more than a question does.
        caller = await asyncio.to_thread(self._let_in, connection)
        return AuthenticationResult(user=caller, auth=None)

    def _let_in(self, connection: ASGIConnection[Any, Any, Any, Any]) -> Caller:
        token = bearer_token(connection.headers.get("authorization"))
        with reading(self._core.engine) as session:
            caller = Caller(*keys.authenticate(session, token, self._core.clock(), self._prefix))
        right = connection.route_handler.opt["right"]
        mailbox = connection.path_params.get("mailbox_id")
        rights.admit(caller.key, connection.client.host if connection.client else None)
        rights.authorize(
            caller.key, right, None if mailbox is None else self._parse_mailbox(mailbox)
        )
        self._charge(caller.key, rights.bucket(right))
        return caller

    def _charge(self, key: ApiKey, bucket: Bucket) -> None:
        now, rate = self._core.clock(), allowances.rate(key, bucket, self._rates)
        with writing(self._core.engine, durable=False) as session:
            keys.touch(session, key, now)
            allowances.charge(session, key, bucket, rate, now)
