"""A job's server-sent events: status, progress, metric, log, done; each with an id that a reader can resume from.

An id is two counts, `<events>.<metrics>`: what the reader has. The database is asked again and again, in a short
session of its own each time, so that a stream holds neither a connection nor a thread.
"""

import asyncio
import math
import re
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

from fastapi.sse import format_sse_event
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response, StreamingResponse

from core.events import events_after, metrics_after
from core.jobs import Jobs
from core.lifecycle import FINAL
from service.deps import Service
from service.errors import UnknownCursor
from service.events import event_of

POLL_SECONDS = 0.5
HEARTBEAT_SECONDS = 10.0
RECONNECT_MILLISECONDS = 1000
EVENTS_AT_ONCE, METRICS_AT_ONCE = 200, 1000
PLACE = re.compile(r"(\d{1,15})\.(\d{1,15})")


@dataclass(frozen=True)
class Place:
    """What a reader has: so many events, so many metric points."""

    events: int = 0
    metrics: int = 0

    def __str__(self) -> str:
        return f"{self.events}.{self.metrics}"

    @classmethod
    def read(cls, written: str | None) -> "Place":
        """Raises UnknownCursor."""
        if not written:
            return cls()
        found = PLACE.fullmatch(written)
        if found is None:
            raise UnknownCursor(written)
        return cls(int(found[1]), int(found[2]))


@dataclass(frozen=True)
class _Frame:
    type: str
    data: dict[str, Any]
    place: Place

    def encoded(self) -> bytes:
        return event_of(self.data, kind=self.type, place=str(self.place))


@dataclass(frozen=True)
class _News:
    """What is new behind a place. `is_over`: a finished job has nothing more to say."""

    frames: list[_Frame]
    progress: dict[str, Any]
    place: Place
    is_over: bool


async def stream_of(service: Service, owner: str, job_id: str, place: Place) -> Response:
    """The stream behind `place`; 204 where it has ended, which stops a browser's reconnecting. Raises JobNotFound."""
    first = await run_in_threadpool(_look, service, owner, job_id, place)
    if first.is_over and not first.frames:
        return Response(status_code=204)
    headers = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
    frames = _frames(service, owner, job_id, first)
    return StreamingResponse(frames, 200, headers, "text/event-stream")


async def _frames(service: Service, owner: str, job_id: str, news: _News) -> AsyncIterator[bytes]:
    yield format_sse_event(retry=RECONNECT_MILLISECONDS)
    shown: dict[str, Any] = {}
    spoke = time.monotonic()
    while True:
        frames = news.frames
        if news.progress != shown:
            shown = news.progress
            frames = [_progress(news, shown), *frames]
        if frames:
            # In one piece: each has its way through every layer down to the socket.
            yield b"".join(frame.encoded() for frame in frames)
            spoke = time.monotonic()
        if news.is_over or service.is_closing:
            return
        if time.monotonic() - spoke > HEARTBEAT_SECONDS:
            spoke = time.monotonic()
            yield format_sse_event(comment="still here")
        await asyncio.sleep(0 if len(news.frames) >= EVENTS_AT_ONCE else POLL_SECONDS)
        news = await run_in_threadpool(_look, service, owner, job_id, news.place)


def _progress(news: _News, shown: dict[str, Any]) -> _Frame:
    """Told first, so with the id that the reader had before: resuming must not skip what follows it."""
    before = news.place
    if news.frames:
        first = news.frames[0]
        is_metric = first.type == "metric"
        before = Place(first.place.events - (not is_metric), first.place.metrics - is_metric)
    return _Frame("progress", shown, before)


def _look(service: Service, owner: str, job_id: str, place: Place) -> _News:
    with service.database.read() as session:
        job = Jobs(session, owner).get(job_id)
        # Events first: a metric is committed before the event that ends its job, so it cannot be missed.
        events = events_after(session, job_id, place.events, EVENTS_AT_ONCE)
        metrics = metrics_after(session, job_id, place.metrics, METRICS_AT_ONCE)
        frames = []
        for metric in metrics:
            place = Place(place.events, metric.seq)
            value = metric.value if math.isfinite(metric.value) else None
            frames.append(_Frame("metric", {"name": metric.name, "step": metric.step, "value": value}, place))
        if len(metrics) < METRICS_AT_ONCE:
            for event in events:
                place = Place(event.seq, place.metrics)
                data = {
                    **event.data,
                    "id": event.id,
                    "level": event.level,
                    "message": event.message,
                    "created_at": event.created_at,
                }
                frames.append(_Frame(event.type, data, place))
        caught_up = place.events >= job.event_count and len(metrics) < METRICS_AT_ONCE
        progress = {**job.progress, "stage": job.stage, "status": job.status}
        return _News(frames, progress, place, caught_up and job.status in FINAL)
