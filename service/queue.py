"""The producer: tells the broker a job's id, and never waits long for it."""

import threading
import time

import structlog
from celery import Celery
from kombu.exceptions import OperationalError

from core.wire import RUN_JOB

log = structlog.get_logger()

ANSWER_SECONDS = 0.3
SKIP_SECONDS = 5.0


class Queue:
    """Publishes job ids. What is lost here, the sweeper finds in the database."""

    def __init__(self, broker_url: str) -> None:
        self._celery = Celery("distill.service", broker=broker_url, set_as_current=False)
        self._celery.conf.update(
            task_ignore_result=True,
            task_default_queue="default",
            broker_connection_timeout=ANSWER_SECONDS,
            broker_transport_options={
                "socket_connect_timeout": ANSWER_SECONDS,
                "socket_timeout": ANSWER_SECONDS,
                "retry_on_timeout": False,
                "max_retries": 0,
            },
        )
        self._skip_until = 0.0
        self._lock = threading.Lock()

    def publish(self, job_id: str, queue: str) -> bool:
        """Return whether the broker has the id. After a failure it is left alone for some seconds."""
        if time.monotonic() < self._skip_until:
            return False
        try:
            # One at a time: behind a broker that hangs, the others find it skipped instead of hanging too.
            with self._lock:
                if time.monotonic() < self._skip_until:
                    return False
                self._celery.send_task(RUN_JOB, args=[job_id], queue=queue, retry=False, ignore_result=True)
        except (OperationalError, OSError) as error:
            self._skip_until = time.monotonic() + SKIP_SECONDS
            log.warning("broker not reached; the sweeper will publish", job_id=job_id, reason=str(error))
            return False
        return True

    def ping(self) -> None:
        """Raise what the broker's client raises where the broker cannot be reached."""
        with self._celery.connection_for_write(connect_timeout=ANSWER_SECONDS) as connection:
            connection.ensure_connection(max_retries=1, interval_start=0, interval_step=0)
            connection.default_channel.client.ping()

    def close(self) -> None:
        self._celery.close()
