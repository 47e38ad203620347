"""A job's life as workers move it: claim, renew, finish, give back; and the sweep, which takes back what was lost.

Every write here is conditional on the lease's fencing token, so that a worker that lost its lease can change nothing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import CursorResult, Update, func, or_, select
from sqlalchemy.orm import Session, aliased

from core.clock import database_now
from core.errors import WorkerLost
from core.events import record_event
from core.jobs import change
from core.lifecycle import HELD, JobStatus
from core.tables import Job
from core.wire import JobError, Level

SILENT = "Its worker gave no sign of life"


@dataclass(frozen=True)
class Lease:
    """A worker's hold on a job: nobody else may write it while `token` stands in its row."""

    job_id: str
    token: str
    worker: str
    seconds: float


def claim(session: Session, lease: Lease) -> Job | None:
    """Take a queued job, or return None if another delivery already has it."""
    take = change(lease.job_id, Job.status == JobStatus.QUEUED).values(
        status=JobStatus.RUNNING,
        stage="loading",
        lease_token=lease.token,
        lease_expires_at=database_now(lease.seconds),
        worker=lease.worker,
        started_at=func.coalesce(Job.started_at, database_now()),
    )
    job = session.scalars(take.returning(Job)).one_or_none()
    if job is not None:
        message = f"Started on {lease.worker}" + (f", attempt {job.attempt}" if job.attempt > 1 else "")
        record_event(session, job.id, message, type="status", data={"status": job.status, "attempt": job.attempt})
    return job


def renew(session: Session, lease: Lease, values: Mapping[str, Any]) -> JobStatus | None:
    """Renew the lease and write `values` beside it. Returns the status (a cancel shows here), None if it is lost."""
    keep = _held(lease).values(lease_expires_at=database_now(lease.seconds), **values)
    status = session.scalars(keep.returning(Job.status)).one_or_none()
    return None if status is None else JobStatus(status)


def succeed(session: Session, lease: Lease, report: Mapping[str, Any]) -> JobStatus | None:
    """Finish a job; one that was asked to end meanwhile is cancelled instead, one that was to pause is done. None if
    the lease is lost."""
    done = _held(lease, Job.status.in_([JobStatus.RUNNING, JobStatus.PAUSING])).values(
        **_released(JobStatus.SUCCEEDED), report=dict(report), stage=None
    )
    if not _changed(session, done):
        return JobStatus.CANCELLED if cancelled(session, lease) else None
    record_event(session, lease.job_id, "Succeeded", type="done", data={"status": JobStatus.SUCCEEDED})
    return JobStatus.SUCCEEDED


def cancelled(session: Session, lease: Lease, *conditions: Any) -> bool:
    """Finish a job that was asked to stop."""
    done = _held(lease, Job.status == JobStatus.CANCELLING, *conditions).values(**_released(JobStatus.CANCELLED))
    if not _changed(session, done):
        return False
    record_event(session, lease.job_id, "Cancelled", type="done", data={"status": JobStatus.CANCELLED})
    return True


def paused(session: Session, lease: Lease, loss: str | None = None, *conditions: Any) -> bool:
    """Let a job rest that was asked to. `loss` says how its worker went, where it did not stop by itself."""
    rest = {**_released(JobStatus.PAUSED), "finished_at": None, "stage": None}
    if not _changed(session, _held(lease, Job.status == JobStatus.PAUSING, *conditions).values(**rest)):
        return False
    said = f"{loss}. Paused; it resumes from its last checkpoint" if loss else "Paused"
    level: Level = "warning" if loss else "info"
    record_event(session, lease.job_id, said, type="status", level=level, data={"status": JobStatus.PAUSED})
    return True


def stopped(session: Session, lease: Lease, loss: str | None = None, *conditions: Any) -> bool:
    """Settle a job that was asked to pause or to end. Asked in this order, a cancel of one that pauses is obeyed."""
    return paused(session, lease, loss, *conditions) or cancelled(session, lease, *conditions)


def fail(session: Session, lease: Lease, error: JobError) -> bool:
    """Finish a job that cannot go on."""
    if not _changed(session, _held(lease).values(**_released(JobStatus.FAILED), error=error.model_dump())):
        return False
    _tell_failure(session, lease.job_id, error)
    return True


def give_back(session: Session, lease: Lease, reason: str) -> bool:
    """Queue a running job again, for another worker to resume; the worker is not to blame, so no loss is counted."""
    again = _held(lease, Job.status == JobStatus.RUNNING).values(**_requeued())
    if not _changed(session, again):
        # Asked in this order, a cancel that comes between the two statements is obeyed, not undone.
        return stopped(session, lease)
    _tell_requeue(session, lease.job_id, reason)
    return True


def lost(session: Session, lease: Lease, reason: str, max_attempts: int) -> bool:
    """Queue a job again whose training died, or fail it after `max_attempts` losses."""
    taken = _take_back(session, lease.job_id, reason, max_attempts, Job.lease_token == lease.token)
    return taken or stopped(session, lease, reason)


def sweep(session: Session, max_attempts: int) -> Sequence[str]:
    """Take back every job whose lease has expired by the database's clock. Returns their ids."""
    overdue = Job.lease_expires_at < database_now()
    stale = session.execute(select(Job.id, Job.status, Job.lease_token).where(Job.status.in_(HELD), overdue)).all()
    taken = []
    for job_id, status, token in stale:
        lease = Lease(job_id, token or "", "", 0)
        if status in (JobStatus.PAUSING, JobStatus.CANCELLING):
            if stopped(session, lease, SILENT, overdue):
                taken.append(job_id)
        elif _take_back(session, job_id, SILENT, max_attempts, Job.lease_token == token, overdue):
            taken.append(job_id)
    return taken


def unpublished(session: Session, republish_seconds: float, limit: int = 1000) -> Sequence[tuple[str, str]]:
    """(id, queue) of queued jobs that the broker should hear of: never told, or told long ago."""
    # A fresh row is its endpoint's to publish; two seconds later it is ours.
    due = or_(
        Job.published_at.is_(None) & (Job.queued_at < database_now(-2)),
        Job.published_at < database_now(-republish_seconds),
    )
    query = select(Job.id, Job.queue).where(Job.status == JobStatus.QUEUED, due)
    return [(job_id, queue) for job_id, queue in session.execute(query.order_by(Job.queued_at).limit(limit))]


def next_in_line(session: Session, queue: str) -> str | None:
    """The queued job whose turn it is: by priority, then the owner with fewest running jobs, then age."""
    running = aliased(Job)
    busy = (
        select(func.count())
        .where(running.owner == Job.owner, running.status.in_(HELD))
        .correlate(Job)
        .scalar_subquery()
    )
    query = select(Job.id).where(Job.status == JobStatus.QUEUED, Job.queue == queue)
    return session.scalars(query.order_by(Job.priority.desc(), busy, Job.queued_at, Job.id).limit(1)).one_or_none()


def queue_position(session: Session, job: Job) -> int | None:
    """How many jobs of its queue go first, plus one; None once it has left the queue. Fairness may still move it."""
    if job.status != JobStatus.QUEUED:
        return None
    earlier = (Job.queued_at < job.queued_at) | ((Job.queued_at == job.queued_at) & (Job.id < job.id))
    ahead = select(func.count()).where(
        Job.status == JobStatus.QUEUED,
        Job.queue == job.queue,
        (Job.priority > job.priority) | ((Job.priority == job.priority) & earlier),
    )
    return (session.scalar(ahead) or 0) + 1


def queue_positions(session: Session, jobs: Sequence[Job]) -> dict[str, int]:
    """The same of each that waits, by id, in one statement: a page that counted for each job would count the queue as
    often."""
    waiting = [job for job in jobs if job.status == JobStatus.QUEUED]
    if not waiting:
        return {}
    order = (Job.priority.desc(), Job.queued_at, Job.id)
    place = func.row_number().over(partition_by=Job.queue, order_by=order).label("place")
    queues = {job.queue for job in waiting}
    line = select(Job.id, place).where(Job.status == JobStatus.QUEUED, Job.queue.in_(queues)).subquery()
    found = session.execute(select(line.c.id, line.c.place).where(line.c.id.in_([job.id for job in waiting])))
    return dict(found.all())


def _held(lease: Lease, *conditions: Any) -> Update:
    return change(lease.job_id, Job.lease_token == lease.token, Job.status.in_(HELD), *conditions)


def _released(status: JobStatus) -> dict[str, Any]:
    return {"status": status, "lease_token": None, "lease_expires_at": None, "finished_at": database_now()}


def _requeued() -> dict[str, Any]:
    return {
        **_released(JobStatus.QUEUED),
        "finished_at": None,
        "stage": None,
        "attempt": Job.attempt + 1,
        "published_at": None,
        "queued_at": database_now(),
    }


def _changed(session: Session, statement: Update) -> bool:
    result = session.execute(statement)
    assert isinstance(result, CursorResult)
    return result.rowcount == 1


def _take_back(session: Session, job_id: str, reason: str, max_attempts: int, *conditions: Any) -> bool:
    running = (Job.status == JobStatus.RUNNING, *conditions)
    again = change(job_id, *running, Job.times_lost + 1 < max_attempts)
    if _changed(session, again.values(**_requeued(), times_lost=Job.times_lost + 1)):
        _tell_requeue(session, job_id, reason)
        return True
    lost_for_good = WorkerLost(max_attempts)
    error = JobError(code=lost_for_good.code, message=f"{lost_for_good}. Last: {reason}", hint=lost_for_good.hint)
    over = change(job_id, *running).values(
        **_released(JobStatus.FAILED), times_lost=Job.times_lost + 1, error=error.model_dump()
    )
    if not _changed(session, over):
        return False
    _tell_failure(session, job_id, error)
    return True


def _tell_requeue(session: Session, job_id: str, reason: str) -> None:
    message = f"{reason}. Queued again; it resumes from its last checkpoint"
    record_event(session, job_id, message, type="status", level="warning", data={"status": JobStatus.QUEUED})


def _tell_failure(session: Session, job_id: str, error: JobError) -> None:
    data = {"status": JobStatus.FAILED, "code": error.code}
    record_event(session, job_id, f"Failed: {error.message}", type="done", level="error", data=data)
