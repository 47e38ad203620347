"""`python -m worker.sweeper`: takes back what was lost, tells the broker what it has not heard, deletes what could not
be deleted before. Several may run."""

import signal
import threading

import structlog
from celery import Celery
from kombu.exceptions import OperationalError
from sqlalchemy import delete
from sqlalchemy.exc import DBAPIError

from core import leases, remains
from core.blobs import Blobs
from core.clock import database_now
from core.database import Database
from core.jobs import mark_published
from core.settings import Settings
from core.tables import IdempotentAnswer
from core.wire import RUN_JOB
from worker.app import make_app

log = structlog.get_logger()

IDEMPOTENCY_SECONDS = 24 * 3600


def sweep_once(database: Database, app: Celery, settings: Settings) -> None:
    """Take back overdue jobs, forget old answers, publish what is queued and unpublished."""
    with database.write() as session:
        for job_id in leases.sweep(session, settings.max_attempts):
            log.warning("taken back", job_id=job_id)
        session.execute(
            delete(IdempotentAnswer).where(IdempotentAnswer.created_at < database_now(-IDEMPOTENCY_SECONDS))
        )
        session.commit()
    with database.read() as session:
        due = leases.unpublished(session, settings.republish_seconds)
    for job_id, queue in due:
        app.send_task(RUN_JOB, args=[job_id], queue=queue, retry=False, ignore_result=True)
        with database.write() as session:
            mark_published(session, job_id)
            session.commit()
        log.info("published", job_id=job_id)


def sweep_forever(database: Database, app: Celery, settings: Settings, should_stop: threading.Event) -> None:
    """Sweep until told to stop. A database or broker that is away is waited for."""
    while not should_stop.is_set():
        try:
            sweep_once(database, app, settings)
        except (DBAPIError, OperationalError, OSError) as error:
            log.warning("sweep put off", reason=str(error).splitlines()[0])
        should_stop.wait(settings.sweep_seconds)


def clean_forever(database: Database, blobs: Blobs, settings: Settings, should_stop: threading.Event) -> None:
    """Delete what was left until told to stop, apart from the sweeps: a slow storage must not hold up jobs."""
    while not should_stop.is_set():
        try:
            with database.read() as session:
                folders = remains.overdue(session)
        except DBAPIError as error:
            folders = []
            log.warning("cleaning put off", reason=str(error).splitlines()[0])
        for folder in folders:
            if not should_stop.is_set():
                remains.clear(database, blobs, [folder])
        should_stop.wait(settings.sweep_seconds)


def main() -> None:
    settings = Settings()
    should_stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: should_stop.set())
    database = Database(settings.database)
    log.info("sweeper started", every_seconds=settings.sweep_seconds)
    cleaning = (database, Blobs(settings.storage), settings, should_stop)
    threading.Thread(target=clean_forever, args=cleaning, daemon=True).start()
    sweep_forever(database, make_app(settings), settings, should_stop)
    database.close()


if __name__ == "__main__":
    main()
