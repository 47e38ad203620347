"""The one task: a bell that says that a queue has work. Which job's turn it is, the rows decide."""

import structlog
from celery import Celery

from core import leases
from core.database import Database
from core.tables import Job
from core.wire import RUN_JOB
from worker.supervisor import Supervisor

log = structlog.get_logger()


def register(app: Celery, database: Database, supervisor: Supervisor) -> None:
    """Give the app its task."""

    def run_job(job_id: object = None, *_: object, **__: object) -> None:
        answer_bell(database, supervisor, job_id)

    app.task(name=RUN_JOB)(run_job)


def answer_bell(database: Database, supervisor: Supervisor, job_id: object) -> None:
    """Run the job whose turn it is in the queue of `job_id`. Anything but a job's id is logged and forgotten.

    Each queued job has a message of its own, so running another one first (priority, fairness between owners) leaves
    this one to that one's message. A delivery that comes twice finds nothing queued, or starts a waiting job early.
    """
    queue = _queue_of(database, job_id)
    if queue is None or _next_in_line(database, queue) is None:
        log.info("nothing to run", job_id=str(job_id)[:100])
        return
    while (turn := _next_in_line(database, queue)) is not None:
        if supervisor.run(turn):
            return
        # Another worker took it between our look and our claim; ours is the next one.


def _queue_of(database: Database, job_id: object) -> str | None:
    if not isinstance(job_id, str):
        return None
    with database.read() as session:
        job = session.get(Job, job_id)
        return job.queue if job is not None else None


def _next_in_line(database: Database, queue: str) -> str | None:
    with database.read() as session:
        return leases.next_in_line(session, queue)
