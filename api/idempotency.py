"""Idempotency-Key: a POST that is sent again is not done again.

After draft-ietf-httpapi-idempotency-key-header, and Stripe's use of it.
"""

import asyncio
import hashlib
import hmac
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from litestar import Request
from litestar.datastructures import State
from litestar.types import ASGIApp, Message, Receive, Scope, Send
from sqlalchemy.exc import SQLAlchemyError

from api.auth import Caller, bearer_token
from api.core import Core
from orchestrator.db import writing
from orchestrator.errors import ConfigurationError
from orchestrator.services import idempotency
from orchestrator.services.idempotency import Answer, Claim

HEADER = b"idempotency-key"

logger = logging.getLogger("mailfleet.api")


class Idempotency:
    """Keeps the answers to POSTs with such a key, and gives them again."""

    def __init__(self, app: ASGIApp, core: Core) -> None:
        self._app = app
        self._core = core

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand the request on, unless its answer is known.

        :raises Invalid: when the key is malformed.
        :raises Conflict: when it was used otherwise, or the request is still under way.
        """
        names = [value.decode("latin-1") for name, value in scope["headers"] if name == HEADER]
        caller = scope.get("user")
        if scope.get("method") != "POST" or not names or caller is None:
            await self._app(scope, receive, send)
            return
        name = idempotency.name(names)
        digest = await _digest(scope, receive)
        begun = await asyncio.to_thread(self._begin, caller, name, digest)
        if isinstance(begun, Answer):
            await _replay(begun, send)
            return
        messages: list[Message] = []

        async def keep(message: Message) -> None:
            messages.append(message)

        async with self._renewing(begun):
            await self._app(scope, receive, keep)
        # Before the client has it: it may ask again the moment that it knows.
        await asyncio.to_thread(self._settle, begun, _answer(messages))
        for message in messages:
            await send(message)

    def _begin(self, caller: Caller, name: str, digest: str) -> Claim | Answer:
        core = self._core
        with writing(core.engine) as session:
            found = idempotency.begin(
                session, core.settings, caller.key, name, digest, core.clock()
            )
        return found if isinstance(found, Claim) else idempotency.answer(core.vault, found)

    def _settle(self, claim: Claim, answer: Answer) -> None:
        try:
            with writing(self._core.engine) as session:
                if answer.status >= 500 or answer.status == 429:
                    idempotency.release(session, claim)
                else:
                    idempotency.settle(session, self._core.vault, claim, answer)
        except (SQLAlchemyError, ConfigurationError) as error:
            # What was asked is done: the client is told so all the same.
            logger.error("an answer could not be kept for its repetition: %s", type(error).__name__)

    @asynccontextmanager
    async def _renewing(self, claim: Claim) -> AsyncIterator[None]:
        task = asyncio.create_task(self._renew(claim))
        try:
            yield
        finally:
            task.cancel()

    async def _renew(self, claim: Claim) -> None:
        while True:
            await asyncio.sleep(self._core.settings.idempotency_takeover / 3)
            with suppress(SQLAlchemyError):
                await asyncio.to_thread(self._say_alive, claim)

    def _say_alive(self, claim: Claim) -> None:
        with writing(self._core.engine) as session:
            idempotency.renew(session, claim, self._core.clock())


async def _digest(scope: Scope, receive: Receive) -> str:
    # Litestar keeps the body with the scope: the handler reads this one.
    request: Request[Caller, None, State] = Request(scope, receive)
    target = scope["path"].encode() + b"?" + scope["query_string"]
    asked = b"\n".join([request.method.encode(), target, await request.body()])
    # Keyed with what the database doesn't hold: nobody can try there which password it was.
    token = bearer_token(request.headers.get("authorization"))
    return hmac.new(token.encode(), asked, hashlib.sha256).hexdigest()


def _answer(messages: list[Message]) -> Answer:
    status, content_type, body = 500, "", b""
    for message in messages:
        if message["type"] == "http.response.start":
            status = message["status"]
            content_type = dict(message["headers"]).get(b"content-type", b"").decode("latin-1")
        elif message["type"] == "http.response.body":
            body += message["body"]
    return Answer(status, content_type, body)


async def _replay(answer: Answer, send: Send) -> None:
    headers = [
        (b"content-type", answer.content_type.encode("latin-1")),
        (b"content-length", str(len(answer.body)).encode()),
        (b"idempotency-replayed", b"true"),
    ]
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": answer.body, "more_body": False})
