"""How much body a request may carry and how slowly. The server itself has no such limit."""

import asyncio
from collections.abc import Mapping

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.errors import BodyTooLarge

SILENCE_SECONDS = 60.0
MULTIPART_OVERHEAD_BYTES = 64 << 10


class BodyLimits:
    """Counts what arrives. `uploads` maps a path to the bytes that a POST there may carry."""

    def __init__(self, app: ASGIApp, json_bytes: int, uploads: Mapping[str, int]) -> None:
        self.app, self.json_bytes, self.uploads = app, json_bytes, uploads

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        limit = self._limit(scope)
        announced = Headers(scope=scope).get("content-length", "0")
        if announced.isdecimal() and int(announced) > limit:
            raise BodyTooLarge(f"the body has {announced} bytes, {limit} are allowed")
        await self.app(scope, _Counted(receive, limit), send)

    def _limit(self, scope: Scope) -> int:
        upload = self.uploads.get(scope["path"]) if scope["method"] == "POST" else None
        return self.json_bytes if upload is None else upload + MULTIPART_OVERHEAD_BYTES


class _Counted:
    """Raises what FastAPI lets through while it reads a body: its own kind of exception."""

    def __init__(self, receive: Receive, limit: int) -> None:
        self.receive, self.limit = receive, limit
        self.total_bytes = 0
        self.is_whole = False

    async def __call__(self) -> Message:
        if self.is_whole:
            return await self.receive()
        try:
            async with asyncio.timeout(SILENCE_SECONDS):
                message = await self.receive()
        except TimeoutError:
            raise HTTPException(408, f"nothing came for {SILENCE_SECONDS:g} seconds") from None
        self.total_bytes += len(message.get("body", b""))
        self.is_whole = not message.get("more_body", False)
        if self.total_bytes > self.limit:
            raise HTTPException(413, f"the body has more than {self.limit} bytes")
        return message
