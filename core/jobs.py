"""A job's life as its owner moves it. How workers move it is in core/leases."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import Update, case, delete, literal, select, update
from sqlalchemy.orm import Session

from core.clock import database_now
from core.errors import ImpossibleMove, JobNotFound
from core.events import record_event
from core.ids import make_id
from core.lifecycle import ACTIVE, FINAL, JobStatus
from core.pages import Cursor, Page, page_of
from core.spec import JobSpec
from core.tables import Job, JobLabel, JobModel
from core.wire import Estimate, EventType, Progress


@dataclass(frozen=True)
class JobFilter:
    status: JobStatus | None = None
    task: str | None = None
    labels: dict[str, str] = field(default_factory=dict)
    created_after: datetime | None = None
    created_before: datetime | None = None
    name_contains: str | None = None


def change(job_id: str, *conditions: Any) -> Update:
    """An UPDATE of one job under conditions: a race is settled by which of two finds them true."""
    return (
        update(Job)
        .where(Job.id == job_id, *conditions)
        .values(version=Job.version + 1, updated_at=database_now())
        .execution_options(synchronize_session=False, populate_existing=True)
    )


class Jobs:
    """One owner's jobs. The owner is fixed once, so that no query can forget it."""

    def __init__(self, session: Session, owner: str) -> None:
        self.session = session
        self.owner = owner

    def add(self, spec: JobSpec, estimate: Estimate | None = None, model_ids: Iterable[str] = ()) -> Job:
        """Store a checked spec as a queued job. The caller commits, then publishes."""
        assert spec.task is not None, "the service decides the task before it stores a job"
        job = Job(
            id=make_id("job"),
            owner=self.owner,
            name=spec.name,
            task=spec.task,
            queue=spec.resources.queue,
            priority=spec.resources.priority,
            spec=spec.model_dump(mode="json"),
            dataset_id=spec.dataset.id,
            estimate=estimate.model_dump() if estimate else None,
            progress=Progress().model_dump(),
        )
        self.session.add(job)
        self.session.flush()
        self.session.add_all(JobLabel(job_id=job.id, key=key, value=value) for key, value in spec.labels.items())
        self.session.add_all(JobModel(job_id=job.id, model_id=model_id) for model_id in sorted(set(model_ids)))
        self.session.flush()
        record_event(self.session, job.id, "Queued", type="status", data={"status": JobStatus.QUEUED})
        self.session.refresh(job)
        return job

    def get(self, job_id: str) -> Job:
        """Return the job. Raises JobNotFound, also for another owner's."""
        job = self.session.scalars(select(Job).where(Job.id == job_id, Job.owner == self.owner)).one_or_none()
        if job is None:
            raise JobNotFound(job_id)
        return job

    def page(self, wanted: JobFilter, cursor: Cursor) -> Page[Job]:
        query = select(Job).where(Job.owner == self.owner)
        if wanted.status is not None:
            query = query.where(Job.status == wanted.status)
        if wanted.task is not None:
            query = query.where(Job.task == wanted.task)
        if wanted.created_after is not None:
            query = query.where(Job.created_at > wanted.created_after)
        if wanted.created_before is not None:
            query = query.where(Job.created_at < wanted.created_before)
        if wanted.name_contains:
            query = query.where(Job.name.icontains(wanted.name_contains, autoescape=True))
        for key, value in wanted.labels.items():
            labelled = select(JobLabel.job_id).where(JobLabel.key == key, JobLabel.value == value)
            query = query.where(Job.id.in_(labelled))
        return page_of(self.session, query, Job, cursor)

    def cancel(self, job_id: str) -> Job:
        """Cancel at once what waits or is paused; ask what runs to stop. Repeating is harmless; else ImpossibleMove."""
        rests, runs = [JobStatus.QUEUED, JobStatus.PAUSED], [JobStatus.RUNNING, JobStatus.PAUSING]
        ends = JobStatus.CANCELLED, JobStatus.CANCELLING
        words = "Cancelled while nothing ran", "Asked to stop; the last checkpoint is kept"
        return self._asked_to_stop(job_id, "cancel", rests, runs, ends, words)

    def pause(self, job_id: str) -> Job:
        """Take what waits out of its queue at once; ask what runs to keep what it has and stop. Repeating is harmless;
        else ImpossibleMove."""
        ends = JobStatus.PAUSED, JobStatus.PAUSING
        words = "Paused while nothing ran", "Asked to pause; what was trained is kept"
        return self._asked_to_stop(job_id, "pause", [JobStatus.QUEUED], [JobStatus.RUNNING], ends, words)

    def _asked_to_stop(
        self,
        job_id: str,
        move: str,
        rests: Sequence[JobStatus],
        runs: Sequence[JobStatus],
        ends: tuple[JobStatus, JobStatus],
        words: tuple[str, str],
    ) -> Job:
        """Move a job that rests to the first of `ends`, and one that runs to the second; `words` say which it was."""
        self.get(job_id)
        at_once, later = ends
        is_at_rest = Job.status.in_(rests)
        stop = change(job_id, Job.status.in_([*rests, *runs])).values(
            status=case((is_at_rest, literal(at_once.value)), else_=literal(later.value))
        )
        if at_once in FINAL:
            stop = stop.values(finished_at=case((is_at_rest, database_now()), else_=None))
        job = self.session.scalars(stop.returning(Job)).one_or_none()
        if job is None:
            job = self._fresh(job_id)
            if job.status in ends:
                return job
            raise ImpossibleMove(move, job_id, job.status)
        said = words[ends.index(JobStatus(job.status))]
        kind: EventType = "done" if job.status in FINAL else "status"
        record_event(self.session, job_id, said, type=kind, data={"status": job.status})
        return self._fresh(job_id)

    def resume(self, job_id: str) -> Job:
        """Queue a paused job again; it goes on from its last checkpoint. Harmless for one that waits or runs."""
        return self._queued_again(job_id, "resume", [JobStatus.PAUSED], {})

    def retry(self, job_id: str) -> Job:
        """Queue a failed or cancelled job again, from its last checkpoint. Harmless for one that waits or runs."""
        afresh = {"times_lost": 0, "seconds_run": 0.0, "error": None, "finished_at": None}
        return self._queued_again(job_id, "retry", [JobStatus.FAILED, JobStatus.CANCELLED], afresh)

    def _queued_again(self, job_id: str, move: str, where: Sequence[JobStatus], values: Mapping[str, object]) -> Job:
        self.get(job_id)
        again = change(job_id, Job.status.in_(where)).values(
            status=JobStatus.QUEUED,
            stage=None,
            attempt=Job.attempt + 1,
            published_at=None,
            queued_at=database_now(),
            **values,
        )
        if self.session.scalars(again.returning(Job.id)).one_or_none() is None:
            job = self._fresh(job_id)
            if job.status in (JobStatus.QUEUED, JobStatus.RUNNING):  # a worker may have it by the second time
                return job
            raise ImpossibleMove(move, job_id, job.status)
        record_event(self.session, job_id, "Queued again on request", type="status", data={"status": JobStatus.QUEUED})
        return self._fresh(job_id)

    def delete(self, job_id: str) -> None:
        """Forget a finished job. The caller commits, then deletes what `folders_of_jobs` names."""
        job = self.get(job_id)
        gone = delete(Job).where(Job.id == job_id, Job.status.in_(FINAL))
        if self.session.scalars(gone.returning(Job.id)).one_or_none() is None:
            raise ImpossibleMove("delete", job_id, job.status)

    def _fresh(self, job_id: str) -> Job:
        return self.session.get_one(Job, job_id, populate_existing=True)


def active_job_using(session: Session, *, dataset_id: str | None = None, model_id: str | None = None) -> str | None:
    """The id of a job that still needs the data set or model, or None."""
    query = select(Job.id).where(Job.status.in_(ACTIVE)).limit(1)
    if dataset_id is not None:
        query = query.where(Job.dataset_id == dataset_id)
    if model_id is not None:
        query = query.join(JobModel, JobModel.job_id == Job.id).where(JobModel.model_id == model_id)
    return session.scalars(query).one_or_none()


def mark_published(session: Session, job_id: str) -> None:
    """The broker has the id. No version: nothing that a user sees has changed."""
    session.execute(update(Job).where(Job.id == job_id).values(published_at=database_now()))
