"""What service.py compares with: a FastAPI app on the same tables that asks one thing of the database and answers.

    python -m benchmarks.bare DATABASE_URL

prints where it listens. It knows no keys, owners, checks, events, broker, logs or errors of its own.
"""

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Iterator
from datetime import datetime
from typing import Annotated, Any

import uvicorn
from fastapi import Depends, FastAPI
from fastapi.responses import StreamingResponse
from pydantic import BaseModel
from sqlalchemy import select
from sqlalchemy.orm import Session
from starlette.concurrency import run_in_threadpool

from core.database import Database
from core.ids import make_id
from core.tables import Event, Job, Metric

POLL_SECONDS = 0.5


class JobOut(BaseModel):
    id: str
    name: str | None
    task: str
    status: str
    stage: str | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    updated_at: datetime
    attempt: int
    spec: dict[str, Any]
    progress: dict[str, Any]
    metrics: dict[str, Any]
    report: dict[str, Any] | None
    warnings: list[Any]
    error: dict[str, Any] | None
    estimate: dict[str, Any] | None


def bare_app(database: Database) -> FastAPI:
    app = FastAPI()

    def reading() -> Iterator[Session]:
        with database.read() as session:
            yield session

    def writing() -> Iterator[Session]:
        with database.write() as session:
            yield session

    @app.post("/v1/jobs", status_code=202, response_model=JobOut)
    def create_job(spec: dict[str, Any], session: Annotated[Session, Depends(writing)]) -> Job:
        job = Job(
            id=make_id("job"),
            owner="bare",
            name=spec.get("name"),
            task="text-classification",
            queue=spec["resources"]["queue"],
            spec=spec,
            dataset_id=spec["dataset"]["id"],
            warnings=[],
        )
        session.add(job)
        session.commit()
        return job

    @app.get("/v1/jobs", response_model=list[JobOut])
    def list_jobs(session: Annotated[Session, Depends(reading)], limit: int = 20) -> list[Job]:
        return list(session.scalars(select(Job).order_by(Job.id.desc()).limit(limit)))

    @app.get("/v1/jobs/{job_id}", response_model=JobOut)
    def get_job(job_id: str, session: Annotated[Session, Depends(reading)]) -> Job:
        return session.get_one(Job, job_id)

    @app.get("/v1/jobs/{job_id}/stream")
    async def stream_events(job_id: str) -> StreamingResponse:
        return StreamingResponse(frames_of(database, job_id), media_type="text/event-stream")

    return app


async def frames_of(database: Database, job_id: str) -> AsyncIterator[str]:
    """Metrics and events of a job as server-sent events, until it is finished."""
    metrics = events = 0

    def look() -> tuple[list[Metric], list[Event], bool]:
        with database.read() as session:
            job = session.get_one(Job, job_id)
            points = select(Metric).where(Metric.job_id == job_id, Metric.seq > metrics).order_by(Metric.seq)
            told = select(Event).where(Event.job_id == job_id, Event.seq > events).order_by(Event.seq)
            return list(session.scalars(points)), list(session.scalars(told)), job.finished_at is not None

    while True:
        points, told, is_over = await run_in_threadpool(look)
        for point in points:
            metrics = point.seq
            data = {"name": point.name, "step": point.step, "value": point.value}
            yield f"event: metric\nid: {events}.{metrics}\ndata: {json.dumps(data)}\n\n"
        for event in told:
            events = event.seq
            data = {"id": event.id, "message": event.message, "created_at": event.created_at.isoformat()}
            yield f"event: {event.type}\nid: {events}.{metrics}\ndata: {json.dumps(data)}\n\n"
        if is_over:
            return
        await asyncio.sleep(POLL_SECONDS)


class Announced(uvicorn.Server):
    async def startup(self, sockets: list[Any] | None = None) -> None:
        await super().startup(sockets)
        print(f"bare app at http://127.0.0.1:{self.servers[0].sockets[0].getsockname()[1]}", flush=True)


def main() -> None:
    app = bare_app(Database(sys.argv[1]))
    # h11, as the service runs it; it is also what uvicorn takes where nothing else is installed.
    Announced(uvicorn.Config(app, port=0, access_log=False, log_level="warning", http="h11")).run()


if __name__ == "__main__":
    main()
