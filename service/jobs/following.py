"""`/v1/jobs/{id}/events`, `/metrics`, `/logs`: what a job says while it lives."""

import csv
import io
import math
import re
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Request, Response
from sqlalchemy import select
from sqlalchemy.orm import Session
from starlette.concurrency import run_in_threadpool
from starlette.responses import PlainTextResponse, StreamingResponse

from core.blobs import Blobs
from core.errors import BlobMissing
from core.events import metric_names, series
from core.jobs import Jobs
from core.pages import Cursor
from core.tables import Event
from service.deps import BlobsDep, CallerDep, JobsRead, ReadDep, ServiceDep
from service.errors import UnknownCursor
from service.jobs.schemas import EventOut, MetricsOut, PointOut, event_out
from service.jobs.stream import Place, stream_of
from service.openapi import problems, text
from service.pages import AscendingDep, PageOut, page_out
from service.strict import StrictRoute

router = APIRouter(prefix="/v1/jobs", tags=["jobs"], route_class=StrictRoute, responses=problems(404))

STREAM: dict[str, Any] = {"text/event-stream": {"schema": {"type": "string"}}}
ENDED: dict[int | str, dict[str, Any]] = {
    204: {"description": "The stream has ended before: nothing follows Last-Event-ID."}
}
TAIL_BYTES = 8 << 20
LastEventId = Annotated[str | None, Header(alias="Last-Event-ID", max_length=100)]


@router.get("/{job_id}/events", response_model=PageOut[EventOut], responses={200: {"content": STREAM}, **ENDED})
async def list_events(
    job_id: str,
    request: Request,
    service: ServiceDep,
    caller: CallerDep,
    cursor: AscendingDep,
    last_event_id_header: LastEventId = None,
    last_event_id: Annotated[str | None, Query(max_length=100)] = None,
) -> Response:
    """A page of events, the oldest first; with `Accept: text/event-stream` the stream of them."""
    if "text/event-stream" in request.headers.get("accept", ""):
        return await stream_of(service, caller.owner, job_id, Place.read(last_event_id_header or last_event_id))

    def page() -> PageOut[EventOut]:
        with service.database.read() as session:
            Jobs(session, caller.owner).get(job_id)
            return _page(session, job_id, cursor)

    found = await run_in_threadpool(page)
    return Response(found.model_dump_json(), media_type="application/json")


class StreamResponse(StreamingResponse):
    media_type = "text/event-stream"


@router.get("/{job_id}/stream", response_class=StreamResponse, responses={200: {"content": STREAM}, **ENDED})
async def stream_events(
    job_id: str,
    service: ServiceDep,
    caller: CallerDep,
    last_event_id_header: LastEventId = None,
    last_event_id: Annotated[str | None, Query(max_length=100)] = None,
) -> Response:
    """Server-sent events `status progress metric log done`, from the beginning or after Last-Event-ID."""
    return await stream_of(service, caller.owner, job_id, Place.read(last_event_id_header or last_event_id))


@router.get(
    "/{job_id}/metrics",
    response_model=MetricsOut,
    responses={200: {"content": {"text/csv": {"schema": {"type": "string"}}}}},
)
def get_metrics(
    job_id: str,
    request: Request,
    jobs: JobsRead,
    session: ReadDep,
    names: Annotated[list[str] | None, Query(description="By comma or repeated; all when absent.")] = None,
    from_step: Annotated[int, Query(ge=0, lt=1 << 53)] = 0,
    to_step: Annotated[int | None, Query(ge=0, lt=1 << 53)] = None,
    points: Annotated[int | None, Query(ge=2, le=100_000, description="At most so many of each series.")] = None,
) -> Response:
    """Numbers by name and step; with `Accept: text/csv` as lines of name, step, value."""
    jobs.get(job_id)
    wanted = [name for part in names for name in part.split(",") if name] if names else metric_names(session, job_id)
    found = {
        name: series(session, job_id, name, from_step=from_step, to_step=to_step, points=points)
        for name in dict.fromkeys(wanted)
    }
    if "text/csv" in request.headers.get("accept", ""):
        return Response(_csv(found), media_type="text/csv; charset=utf-8")
    finite = {
        name: [PointOut(step=step, value=value if math.isfinite(value) else None) for step, value in points_of]
        for name, points_of in found.items()
    }
    return Response(MetricsOut(job_id=job_id, series=finite).model_dump_json(), media_type="application/json")


@router.get("/{job_id}/logs", response_class=PlainTextResponse, responses={200: text("text/plain", "What it printed.")})
def get_logs(
    job_id: str,
    jobs: JobsRead,
    blobs: BlobsDep,
    tail: Annotated[int | None, Query(ge=1, le=1_000_000, description="The last so many lines.")] = None,
) -> Response:
    """What the training process printed; empty before it has printed anything."""
    jobs.get(job_id)
    try:
        content = _log(blobs, f"jobs/{job_id}/log.txt", tail)
    except BlobMissing:
        content = b""
    return PlainTextResponse(content.decode(errors="replace"))


def _page(session: Session, job_id: str, cursor: Cursor) -> PageOut[EventOut]:
    query = select(Event).where(Event.job_id == job_id)
    if cursor.after is not None:
        place = select(Event.seq).where(Event.job_id == job_id, Event.id == cursor.after)
        seq = session.scalars(place).one_or_none()
        if seq is None:
            raise UnknownCursor(cursor.after)
        query = query.where(Event.seq > seq if cursor.order == "asc" else Event.seq < seq)
    query = query.order_by(Event.seq.asc() if cursor.order == "asc" else Event.seq.desc()).limit(cursor.limit + 1)
    rows = session.scalars(query).all()
    shown = rows[: cursor.limit]
    return page_out([event_out(row) for row in shown], [row.id for row in shown], len(rows) > cursor.limit)


def _log(blobs: Blobs, key: str, tail: int | None) -> bytes:
    """The log is replaced while it grows, so one piece that is read at once is the only whole view of it."""
    size = blobs.size(key)
    if tail is None:
        return blobs.read(key, 0, size)
    lines = blobs.read(key, max(0, size - TAIL_BYTES), size).splitlines(keepends=True)
    return b"".join(lines[-tail:])


def _csv(found: dict[str, list[tuple[int, float]]]) -> str:
    text_file = io.StringIO()
    writer = csv.writer(text_file)
    writer.writerow(["name", "step", "value"])
    for name, points in found.items():
        # A name that a spreadsheet would take for a formula is shown as text.
        safe = "'" + name if re.match(r"[=+\-@\t\r]", name) else name
        writer.writerows([safe, step, value] for step, value in points)
    return text_file.getvalue()
