"""A sweep: one spec, values for some of its fields, and a job for each combination of them."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from core.errors import ImpossibleMove, SweepActive, SweepFinished, SweepNotFound
from core.events import record_event
from core.ids import make_id
from core.jobs import Jobs
from core.lifecycle import ACTIVE, FINAL, JobStatus
from core.pages import Cursor, Page, page_of
from core.spec import JobSpec
from core.tables import Job, Sweep, SweepPoint
from core.wire import Estimate


@dataclass(frozen=True)
class PlannedPoint:
    """One combination of a grid's values, and all that its job is made of."""

    values: Mapping[str, Any]
    spec: JobSpec
    estimate: Estimate
    model_ids: Sequence[str] = ()
    warnings: Sequence[str] = ()
    baseline_at: int | None = None
    """Which planned point, counted from 0, trains the baseline of this one; None where there is none."""


@dataclass(frozen=True)
class Look:
    """How the job of a point stands."""

    status: JobStatus | None
    """None once the job was deleted."""
    percent: float


def status_of(statuses: Collection[JobStatus | None]) -> JobStatus:
    """Return the status of a whole sweep: it runs until its last job is finished or rests, and failed if one did."""
    active = {status for status in statuses if status in ACTIVE}
    unpaused = active - {JobStatus.PAUSED}
    if not active:
        ends = (JobStatus.FAILED, JobStatus.CANCELLED, JobStatus.SUCCEEDED)
        return next((status for status in ends if status in statuses), JobStatus.CANCELLED)
    if not unpaused:
        return JobStatus.PAUSED
    if unpaused in ({JobStatus.CANCELLING}, {JobStatus.PAUSING}):
        return unpaused.pop()
    waits = set(statuses) <= {JobStatus.QUEUED, JobStatus.PAUSED}
    return JobStatus.QUEUED if waits else JobStatus.RUNNING


def is_in_sweep(session: Session, job_id: str) -> bool:
    """Whether a job is one of several that differ in some values alone."""
    query = select(SweepPoint.place).where(SweepPoint.job_id == job_id).limit(1)
    return session.scalars(query).one_or_none() is not None


@dataclass(frozen=True)
class Sweeps:
    """One owner's sweeps."""

    session: Session
    owner: str

    def add(
        self,
        name: str | None,
        base: Mapping[str, Any],
        grid: Mapping[str, Any],
        notes: Sequence[str],
        planned: Sequence[PlannedPoint],
    ) -> Sweep:
        """Store a sweep with a queued job for each point, in their order. The caller commits, then publishes."""
        row = Sweep(
            id=make_id("sweep"), owner=self.owner, name=name, base=dict(base), grid=dict(grid), notes=list(notes)
        )
        self.session.add(row)
        jobs = [self._add_job(point) for point in planned]
        for place, (point, job) in enumerate(zip(planned, jobs, strict=True)):
            trainer = jobs[point.baseline_at] if point.baseline_at is not None else None
            if trainer is not None and trainer is not job:
                message = f"The student on labels alone is trained by {trainer.id}: it is the same for this job."
                record_event(self.session, job.id, message)
            self.session.add(
                SweepPoint(
                    sweep_id=row.id,
                    place=place + 1,
                    values=dict(point.values),
                    job_id=job.id,
                    baseline_job_id=trainer.id if trainer is not None else None,
                )
            )
        self.session.flush()
        self.session.refresh(row)
        return row

    def _add_job(self, point: PlannedPoint) -> Job:
        job = Jobs(self.session, self.owner).add(point.spec, point.estimate, point.model_ids)
        for warning in point.warnings:
            record_event(self.session, job.id, warning, level="warning")
        return job

    def get(self, sweep_id: str) -> Sweep:
        """Return the sweep. Raises SweepNotFound, also for another owner's."""
        query = select(Sweep).where(Sweep.id == sweep_id, Sweep.owner == self.owner)
        row = self.session.scalars(query).one_or_none()
        if row is None:
            raise SweepNotFound(sweep_id)
        return row

    def page(self, cursor: Cursor) -> Page[Sweep]:
        return page_of(self.session, select(Sweep).where(Sweep.owner == self.owner), Sweep, cursor)

    def points(self, sweep_id: str) -> Sequence[tuple[SweepPoint, Job | None]]:
        """Return the points in their order, each with its job as it is now; None where it was deleted."""
        query = select(SweepPoint, Job).outerjoin(Job, Job.id == SweepPoint.job_id)
        found = self.session.execute(query.where(SweepPoint.sweep_id == sweep_id).order_by(SweepPoint.place))
        return [(point, job) for point, job in found]

    def looks(self, sweep_ids: Collection[str]) -> Mapping[str, Sequence[Look]]:
        """Return how each point of these sweeps stands, without what makes a job's row large."""
        query = select(SweepPoint.sweep_id, Job.status, Job.progress).outerjoin(Job, Job.id == SweepPoint.job_id)
        found: dict[str, list[Look]] = {sweep_id: [] for sweep_id in sweep_ids}
        for sweep_id, status, progress in self.session.execute(query.where(SweepPoint.sweep_id.in_(sweep_ids))):
            found[sweep_id].append(Look(JobStatus(status) if status else None, (progress or {}).get("percent", 0.0)))
        return found

    def cancel(self, sweep_id: str) -> Sequence[str]:
        """Cancel every job that is not finished, and return their ids. Repeating is harmless.

        Raises SweepNotFound, and SweepFinished where all have ended by themselves.
        """
        jobs = [job for _, job in self.points(self.get(sweep_id).id) if job is not None]
        active = [job.id for job in jobs if job.status in ACTIVE]
        if not active and not any(job.status == JobStatus.CANCELLED for job in jobs):
            raise SweepFinished(sweep_id)
        # From behind, so that a worker which loses the running one does not take up the next.
        return [job_id for job_id in reversed(active) if self._is_cancelled(job_id)]

    def _is_cancelled(self, job_id: str) -> bool:
        try:
            Jobs(self.session, self.owner).cancel(job_id)
        except ImpossibleMove:
            return False  # it ended while we looked at the others
        return True

    def delete(self, sweep_id: str) -> Sequence[str]:
        """Forget a sweep and its finished jobs, whose ids are returned. Raises SweepNotFound, SweepActive.

        The caller commits, then deletes what `folders_of_jobs` names.
        """
        wanted = [job.id for _, job in self.points(self.get(sweep_id).id) if job is not None]
        gone = delete(Job).where(Job.id.in_(wanted), Job.status.in_(FINAL)).returning(Job.id)
        deleted = self.session.scalars(gone.execution_options(synchronize_session=False)).all()
        if len(deleted) < len(wanted):
            raise SweepActive(sweep_id, len(wanted) - len(deleted))
        self.session.execute(delete(Sweep).where(Sweep.id == sweep_id).execution_options(synchronize_session=False))
        return deleted
