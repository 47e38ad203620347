"""Work for a client goes on for as long as the client is there."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from starlette.requests import ClientDisconnect, Request

AnswerT = TypeVar("AnswerT")


async def while_listened_to(request: Request, work: Coroutine[Any, Any, AnswerT]) -> AnswerT:
    """Return what the work returns. Where the client leaves first the work is cancelled, and ClientDisconnect raised.

    For requests whose body was read: what comes after it can only be the client's leaving.
    """
    working = asyncio.ensure_future(work)
    leaving = asyncio.ensure_future(_gone(request))
    try:
        await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise ClientDisconnect
        return working.result()
    finally:
        for task in (working, leaving):
            task.cancel()
        await asyncio.gather(working, leaving, return_exceptions=True)


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
