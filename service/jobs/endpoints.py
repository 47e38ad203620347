"""`/v1/jobs`: submit, look, steer."""

import asyncio
import time
from typing import Annotated

from fastapi import APIRouter, Body, Header, Query, Response, status
from sqlalchemy import select
from sqlalchemy.orm import Session
from starlette.concurrency import run_in_threadpool

from core import remains
from core.artifacts import artifacts_of
from core.errors import ResultNotReady
from core.events import record_event
from core.jobs import JobFilter, Jobs
from core.leases import queue_position, queue_positions
from core.lifecycle import FINAL, JobStatus
from core.models import folders_of_jobs
from core.spec import JobSpec
from core.tables import Job
from service.deps import (
    BlobsDep,
    CallerDep,
    JobsRead,
    JobsWritten,
    QueueDep,
    ReadDep,
    Service,
    ServiceDep,
    SettingsDep,
    WriteDep,
)
from service.errors import InvalidRequest
from service.idempotency import OnceDep
from service.jobs.checks import check
from service.jobs.estimate import estimate
from service.jobs.examples import SPEC_EXAMPLES
from service.jobs.outbox import publish
from service.jobs.probing import likeliest_unheard
from service.jobs.schemas import DryRunOut, JobOut, ResultOut, artifact_out, job_out, links_of
from service.moments import Moment
from service.openapi import problems
from service.pages import CursorDep, PageOut, known_cursor, page_out
from service.problems import Fault
from service.strict import StrictRoute

router = APIRouter(prefix="/v1/jobs", tags=["jobs"], route_class=StrictRoute, responses=problems())

POLL_SECONDS = 0.4
MAX_WAIT_SECONDS = 60


@router.post(
    "",
    status_code=status.HTTP_202_ACCEPTED,
    response_model=JobOut,
    responses={
        200: {"model": DryRunOut, "description": "The answer to a dry run."},
        202: {"headers": {"Location": {"schema": {"type": "string"}}}},
        **problems(409, 415),
    },
)
async def create_job(
    spec: Annotated[JobSpec, Body(openapi_examples=SPEC_EXAMPLES)],
    session: WriteDep,
    caller: CallerDep,
    settings: SettingsDep,
    queue: QueueDep,
    blobs: BlobsDep,
    service: ServiceDep,
    once: OnceDep,
    dry_run: Annotated[bool, Query(description="Check and estimate; store nothing.")] = False,
) -> Response:
    """Accept a distillation job. Training starts when a worker is free."""
    # Before the first statement: a transaction that waited for a server of others would keep every writer waiting.
    unheard = await likeliest_unheard(service, caller.owner, spec)

    def accept() -> Response:
        replayed = None if dry_run else once.earlier_answer(session)
        if replayed is not None:
            return replayed
        checked = check(session, caller.owner, spec, blobs, settings, unheard)
        guess = estimate(session, checked)
        if dry_run:
            answer = DryRunOut(spec=checked.spec, estimate=guess, warnings=checked.warnings)
            return Response(answer.model_dump_json(), status.HTTP_200_OK, media_type="application/json")
        job = Jobs(session, caller.owner).add(checked.spec, guess, checked.model_ids)
        for warning in checked.warnings:
            record_event(session, job.id, warning, level="warning")
        if checked.warnings:
            session.refresh(job)
        out = job_out(job, queue_position(session, job))
        kept = once.keep(session, status.HTTP_202_ACCEPTED, out.model_dump_json(), {"Location": out.links.self})
        session.commit()  # the row first: a worker must never hear of a job it cannot read
        publish(queue, session, [job])
        return kept

    return await run_in_threadpool(accept)


@router.get("", response_model=PageOut[JobOut])
def list_jobs(
    jobs: JobsRead,
    session: ReadDep,
    cursor: CursorDep,
    status: JobStatus | None = None,
    task: Annotated[str | None, Query(max_length=100)] = None,
    label: Annotated[list[str] | None, Query(description="key:value; may be repeated.", max_length=32)] = None,
    created_after: Moment | None = None,
    created_before: Moment | None = None,
    q: Annotated[str | None, Query(description="Part of the name.", max_length=200)] = None,
) -> PageOut[JobOut]:
    """Your jobs, the newest first."""
    cursor = known_cursor(cursor, jobs.get)
    wanted = JobFilter(status, task, _labels(label or []), created_after, created_before, q)
    page = jobs.page(wanted, cursor)
    places = queue_positions(session, page.rows)
    items = [job_out(job, places.get(job.id)) for job in page.rows]
    return page_out(items, [job.id for job in page.rows], page.has_more)


@router.get(
    "/{job_id}",
    response_model=JobOut,
    responses={
        200: {"headers": {"ETag": {"schema": {"type": "string"}}}},
        304: {"description": "The job is as If-None-Match says."},
        **problems(404),
    },
)
async def get_job(
    job_id: str,
    service: ServiceDep,
    caller: CallerDep,
    if_none_match: Annotated[str | None, Header()] = None,
    wait: Annotated[
        float, Query(ge=0, le=MAX_WAIT_SECONDS, description="Seconds to wait for a change (since If-None-Match).")
    ] = 0,
) -> Response:
    """One job. With `wait` the answer comes when it changes, or when the seconds are over."""

    def look() -> tuple[JobOut, int]:
        with service.database.read() as session:
            job = Jobs(session, caller.owner).get(job_id)
            return _out(session, job), job.version

    if wait:
        await _change_of(service, caller.owner, job_id, if_none_match, wait)
    out, version = await run_in_threadpool(look)
    headers = {"ETag": _etag(version), "Cache-Control": "no-cache"}
    if if_none_match == _etag(version):
        return Response(status_code=304, headers=headers)
    return Response(out.model_dump_json(), 200, headers, "application/json")


@router.delete("/{job_id}", status_code=status.HTTP_204_NO_CONTENT, responses=problems(404, 409))
def delete_job(job_id: str, jobs: JobsWritten, session: WriteDep, service: ServiceDep) -> None:
    """Forget a finished job with its files. The model that it made stays; DELETE /v1/models/{name} forgets that."""
    jobs.delete(job_id)
    folders = folders_of_jobs(session, [job_id])
    remains.leave(session, folders)
    session.commit()
    remains.clear(service.database, service.blobs, folders)


@router.post("/{job_id}/cancel", status_code=202, response_model=JobOut, responses=problems(404, 409))
def cancel_job(job_id: str, jobs: JobsWritten, session: WriteDep) -> JobOut:
    """Stop a job. Its last checkpoint is kept. Repeating is harmless."""
    job = jobs.cancel(job_id)
    session.commit()
    return _out(session, job)


@router.post("/{job_id}/retry", status_code=202, response_model=JobOut, responses=problems(404, 409))
def retry_job(job_id: str, jobs: JobsWritten, session: WriteDep, queue: QueueDep) -> JobOut:
    """Queue a failed or cancelled job again. It goes on from its last checkpoint."""
    job = jobs.retry(job_id)
    session.commit()
    publish(queue, session, [job])
    return _out(session, job)


@router.post("/{job_id}/pause", status_code=202, response_model=JobOut, responses=problems(404, 409))
def pause_job(job_id: str, jobs: JobsWritten, session: WriteDep) -> JobOut:
    """Let a job rest: what was trained is kept, and its worker takes another job. Repeating is harmless."""
    job = jobs.pause(job_id)
    session.commit()
    return _out(session, job)


@router.post("/{job_id}/resume", status_code=202, response_model=JobOut, responses=problems(404, 409))
def resume_job(job_id: str, jobs: JobsWritten, session: WriteDep, queue: QueueDep) -> JobOut:
    """Queue a paused job again. It goes on from its last checkpoint."""
    job = jobs.resume(job_id)
    session.commit()
    publish(queue, session, [job])
    return _out(session, job)


@router.get("/{job_id}/result", response_model=ResultOut, responses=problems(404))
def get_result(job_id: str, jobs: JobsRead, session: ReadDep) -> ResultOut:
    """How the job ended: report, artifacts, error. 404 with Retry-After until then."""
    job = jobs.get(job_id)
    if job.status not in FINAL:
        raise ResultNotReady(job_id, job.status)
    out = job_out(job)
    artifacts = [artifact_out(row) for row in artifacts_of(session, job_id)]
    return ResultOut(
        id=job.id, status=out.status, report=out.report, artifacts=artifacts, error=out.error, links=links_of(job.id)
    )


async def _change_of(service: Service, owner: str, job_id: str, etag: str | None, seconds: float) -> None:
    """Return when the job's version is another than `etag` (or than now), when it is over, or after `seconds`.

    It is asked for in short sessions, so that a hundred who wait hold neither connections nor threads.
    """

    def look() -> tuple[str, bool] | None:
        with service.database.read() as session:
            query = select(Job.version, Job.status).where(Job.id == job_id, Job.owner == owner)
            row = session.execute(query).one_or_none()
            return (_etag(row.version), row.status in FINAL) if row is not None else None

    deadline = time.monotonic() + seconds
    found = await run_in_threadpool(look)
    seen = etag or (found[0] if found else None)
    while found is not None and found[0] == seen and not found[1] and not service.is_closing:
        left_seconds = deadline - time.monotonic()
        if left_seconds <= 0:
            return
        await asyncio.sleep(min(POLL_SECONDS, left_seconds))
        found = await run_in_threadpool(look)


def _out(session: Session, job: Job) -> JobOut:
    return job_out(job, queue_position(session, job))


def _etag(version: int) -> str:
    return f'"{version}"'


def _labels(written: list[str]) -> dict[str, str]:
    pairs = dict(text.partition(":")[::2] for text in written)
    if any(":" not in text for text in written):
        detail = "a label filter is key:value"
        raise InvalidRequest([Fault(pointer="/query/label", detail=detail, code="label_filter", hint="label=team:nlp")])
    return pairs
