"""The outermost layer: each request gets an id, is timed and counted, and is answered whatever happens inside."""

import time

import structlog
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from core.ids import make_id
from service.errors import BrokenRequest, answer_to
from service.measures import Measures

log = structlog.get_logger()
UNMATCHED = "(no route)"


class Observation:
    def __init__(self, app: ASGIApp, measures: Measures) -> None:
        self.app, self.measures = app, measures

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        scope["distill.request_id"] = make_id("req")
        answer = _Answer(scope, send)
        began = time.perf_counter()
        try:
            _refuse_nul(scope)
            await self.app(scope, receive, answer.send)
        except Exception as error:
            if answer.status is not None:
                # The answer is under way: cutting it off is the only way left to say that it is not whole.
                log.error("answer cut off", request_id=scope["distill.request_id"], reason=str(error))
                raise
            await answer_to(error, scope)(scope, receive, answer.send)
        finally:
            self._tell(scope, answer.status or 500, time.perf_counter() - began)

    def _tell(self, scope: Scope, status: int, seconds: float) -> None:
        route = getattr(scope.get("route"), "path", UNMATCHED)
        self.measures.count(scope["method"], route, status, seconds)
        log.info(
            "request",
            method=scope["method"],
            path=scope["path"],
            status=status,
            milliseconds=round(seconds * 1000, 1),
            request_id=scope["distill.request_id"],
        )


class _Answer:
    """The way out, which signs every answer with the request's id."""

    def __init__(self, scope: Scope, send: Send) -> None:
        self.scope, self._send = scope, send
        self.status: int | None = None

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = MutableHeaders(scope=message)
            headers.setdefault("x-request-id", self.scope["distill.request_id"])
            headers.setdefault("x-content-type-options", "nosniff")
            headers.setdefault("cache-control", "no-store")
        await self._send(message)


def _refuse_nul(scope: Scope) -> None:
    if "\0" in scope["path"] or b"%00" in scope["query_string"]:
        raise BrokenRequest("the URL holds a NUL character")
