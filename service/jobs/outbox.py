"""Telling the broker of jobs that are stored."""

from collections.abc import Iterable

from sqlalchemy.orm import Session

from core.jobs import mark_published
from core.lifecycle import JobStatus
from core.tables import Job
from service.queue import Queue


def publish(queue: Queue, session: Session, jobs: Iterable[Job]) -> None:
    """Tell the broker of queued jobs, in their order. If this is lost, the sweeper finds the rows."""
    told = [job.id for job in jobs if job.status == JobStatus.QUEUED and queue.publish(job.id, job.queue)]
    for job_id in told:
        mark_published(session, job_id)
    if told:
        session.commit()
