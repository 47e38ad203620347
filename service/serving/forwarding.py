"""Asking the serving process, and its answers line by line."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator

import httpx
import structlog
from starlette.concurrency import run_in_threadpool

from core.serving import (
    LINE,
    SILENCE_SECONDS,
    ClassifyAsk,
    Failed,
    Finished,
    Line,
    ReadingAsk,
    ServingUnavailable,
    WriteAsk,
)
from core.settings import Settings
from service.serving.child import Address, OwnChild

log = structlog.get_logger()

Ask = WriteAsk | ClassifyAsk | ReadingAsk
PATHS: dict[type[Ask], str] = {WriteAsk: "/write", ClassifyAsk: "/classify", ReadingAsk: "/read"}
CONNECT_SECONDS = 5.0
ATTEMPTS = 2


class Serving:
    """The serving process: the one that DISTILL_SERVING_URL names, or a child that is started on demand."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.own = OwnChild(settings) if settings.serving_url is None else None
        self._starting = asyncio.Lock()
        self._http: httpx.AsyncClient | None = None

    async def answer(self, ask: Ask) -> AsyncGenerator[Line]:
        """Yield the lines of the answer, the last one a Finished. Closing this ends the work.

        A request that no process had begun to answer is asked once more, of a process that was started anew: the one
        before may have been idle and ended, or been killed.

        Raises:
            DistillError: what the serving process says, such as ServingBusy, ModelUnreadable or ContextExceeded.
            ServingUnavailable: it cannot be started or reached, or its answer ended early.
        """
        for attempt in range(1, ATTEMPTS + 1):
            address, began = await self._address(), False
            try:
                async for line in self._lines(address, ask):
                    began = True
                    yield line
                return
            except httpx.TimeoutException as error:
                await self._give_up(address)
                raise ServingUnavailable(f"it said nothing for {SILENCE_SECONDS:g} seconds") from error
            except httpx.TransportError as error:
                log.warning("serving process lost", reason=str(error) or type(error).__name__)
                await self._give_up(address)
                if began or attempt == ATTEMPTS:
                    raise ServingUnavailable("it ended, or cannot be reached") from error

    async def close(self) -> None:
        if self._http is not None:
            await self._http.aclose()
        if self.own is not None:
            await run_in_threadpool(self.own.close)

    async def _lines(self, address: Address, ask: Ask) -> AsyncGenerator[Line]:
        headers = {"Authorization": f"Bearer {address.token}"} if address.token else {}
        url, sent = f"{address.url.rstrip('/')}{PATHS[type(ask)]}", ask.model_dump_json()
        async with self._client().stream("POST", url, content=sent, headers=headers) as response:
            if response.status_code != httpx.codes.OK:
                raise ServingUnavailable(
                    f"it answers with status {response.status_code}: is DISTILL_SERVING_TOKEN the same?"
                )
            async for written in lines_of(response.aiter_bytes()):
                line = LINE.validate_json(written)
                if isinstance(line, Failed):
                    raise line.error()
                yield line
                if isinstance(line, Finished):
                    return
        raise httpx.RemoteProtocolError("the answer ended early")

    def _client(self) -> httpx.AsyncClient:
        if self._http is None:
            timeout = httpx.Timeout(connect=CONNECT_SECONDS, read=SILENCE_SECONDS, write=SILENCE_SECONDS, pool=None)
            # A connection is kept by nobody: the other end may have gone, and a new one costs nothing here.
            limits = httpx.Limits(max_connections=None, max_keepalive_connections=0)
            # A proxy of the environment's is for the world outside.
            self._http = httpx.AsyncClient(timeout=timeout, limits=limits, trust_env=False)
        return self._http

    async def _address(self) -> Address:
        if self.own is None:
            assert self.settings.serving_url is not None
            token = self.settings.serving_token
            return Address(self.settings.serving_url, token.get_secret_value() if token is not None else None)
        async with self._starting:
            running = self.own.address
            return running if running is not None else await run_in_threadpool(self.own.start)

    async def _give_up(self, address: Address) -> None:
        """End the child that answered there, unless another one has taken its place already."""
        if self.own is not None:
            await run_in_threadpool(self.own.end, address)


async def lines_of(pieces: AsyncIterator[bytes]) -> AsyncGenerator[bytes]:
    """Yield each line. A line feed alone ends one: a model may write what else Unicode takes for the end of a line."""
    rest = b""
    async for piece in pieces:
        *lines, rest = (rest + piece).split(b"\n")
        for line in lines:
            yield line
