"""A request at the ASGI level: from any address, with headers and bytes as they are given."""

import asyncio
from collections.abc import Sequence
from typing import Any

import httpx

Headers = Sequence[tuple[bytes, bytes]]


def ask(
    app: Any,
    method: str,
    path: str,
    headers: Headers = (),
    content: bytes = b"",
    *,
    address: str = "198.51.100.200",
) -> httpx.Response:
    """Send one request to the application and give its answer."""

    async def talk() -> httpx.Response:
        transport = httpx.ASGITransport(app, client=(address, 4711))
        async with httpx.AsyncClient(transport=transport, base_url="http://here") as client:
            return await client.request(method, path, headers=list(headers), content=content)

    return asyncio.run(talk())
