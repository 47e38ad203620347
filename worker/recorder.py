"""The training room's observer: writes what training says into the job's rows, renews the lease, hears of a cancel.

Training only fills a buffer; a thread of its own empties it once a second in one transaction. A database that is away
for less than the lease costs nothing: the buffer waits. A lease that is lost stops the training.
"""

import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import structlog
from sqlalchemy.exc import DBAPIError

from core import leases
from core.blobs import Blobs
from core.database import Database
from core.events import record_event, record_metrics
from core.leases import Lease
from core.lifecycle import JobStatus
from core.report import Sizes
from core.settings import Settings
from core.tables import Job
from core.wire import Level, Progress, Stage
from worker.checkpoints import keep_checkpoint
from worker.texts import keep_texts
from worker.training.observer import StopReason

log = structlog.get_logger()

BEAT_SECONDS = 1.0


class Recorder:
    """Use as a context manager around a claimed job's training."""

    def __init__(self, database: Database, blobs: Blobs, settings: Settings, lease: Lease, job: Job) -> None:
        self.database, self.blobs, self.settings, self.lease = database, blobs, settings, lease
        self.attempt, self._job = job.attempt, job
        self.current_stage: Stage | None = None
        self.current_step: int | None = None
        self._limit_seconds = float(job.spec["resources"]["max_minutes"]) * 60
        self._run_before_seconds = job.seconds_run
        self._began = self._renewed = self._alive = time.monotonic()
        self._values: dict[str, Any] = {}
        self._metrics: list[tuple[str, int, float]] = []
        self._latest: dict[str, float] = dict(job.metrics)
        self._events: list[tuple[str, Level]] = []
        self._reason: StopReason | None = None
        self._lock = threading.Lock()
        self._writing = threading.Lock()
        self._left = threading.Event()
        self._thread = threading.Thread(target=self._beat_forever, name="recorder", daemon=True)

    def __enter__(self) -> "Recorder":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._left.set()
        self._thread.join()

    # What training tells

    def stage(self, stage: Stage) -> None:
        log.info("stage", stage=stage)
        self.current_stage = stage
        self._put(stage=stage)

    def progress(self, progress: Progress) -> None:
        self.current_step = progress.step
        self._put(progress=progress.model_dump())

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        with self._lock:
            self._metrics += [(name, step, float(value)) for name, value in values.items()]
            self._latest.update({name: float(value) for name, value in values.items()})
            self._values["metrics"] = dict(self._latest)
        self._alive = time.monotonic()

    def event(self, message: str, level: Level = "info") -> None:
        log.log({"info": 20, "warning": 30, "error": 40}[level], message)
        with self._lock:
            self._events.append((message, level))
        self._alive = time.monotonic()

    def moved(self) -> None:
        """Something has come or was stored: a sign of life where no step is made."""
        self._alive = time.monotonic()

    def sizes(self, sizes: Sizes) -> None:
        self._put(sizes=sizes.model_dump())

    def checkpoint(self, phase: str, step: int, folder: Path, metrics: Mapping[str, float]) -> None:
        self._alive = time.monotonic()
        if self._reason == "lease_lost":
            return
        kept = keep_checkpoint(
            self.database, self.blobs, self.lease, self.attempt, phase, step, folder, metrics, self.moved
        )
        if not kept:
            self.ask_to_stop("lease_lost")
        self._alive = time.monotonic()

    def texts(self, texts: Path, kept: Path) -> None:
        self._alive = time.monotonic()
        if self._reason == "lease_lost":
            return
        if not keep_texts(self.database, self.blobs, self.lease, self._job, texts, kept):
            self.ask_to_stop("lease_lost")
        self._alive = time.monotonic()

    # What training asks

    def stop_reason(self) -> StopReason | None:
        self._alive = time.monotonic()
        return self._reason

    def ask_to_stop(self, reason: StopReason) -> None:
        """Stop the training at its next look; the first reason stands, but a lost lease outranks all."""
        if self._reason is None or reason == "lease_lost":
            self._reason = reason

    def flush(self) -> None:
        """Write what is buffered now. Raises DBAPIError while the database is away."""
        self._beat()

    def _put(self, **values: Any) -> None:
        with self._lock:
            self._values.update(values)
        self._alive = time.monotonic()

    def _beat_forever(self) -> None:
        while not self._left.wait(BEAT_SECONDS):
            if time.monotonic() - self._alive > self.settings.stall_seconds:
                # Training makes no step. Without a heartbeat the lease runs out, and the sweep decides.
                continue
            try:
                self._beat()
            except DBAPIError as error:
                log.warning("heartbeat put off", reason=str(error).splitlines()[0])
                if time.monotonic() - self._renewed > self.lease.seconds:
                    self.ask_to_stop("lease_lost")

    def _beat(self) -> None:
        with self._writing:
            began = time.monotonic()
            with self._lock:
                values, metrics, events = self._values, self._metrics, self._events
                self._values, self._metrics, self._events = {}, [], []
            try:
                status = self._write(values, metrics, events)
            except DBAPIError:
                with self._lock:
                    self._values = {**values, **self._values}
                    self._metrics, self._events = metrics + self._metrics, events + self._events
                raise
            self._renewed = began
        if status is None:
            self.ask_to_stop("lease_lost")
        elif status == JobStatus.CANCELLING:
            self.ask_to_stop("cancel")
        elif status == JobStatus.PAUSING:
            self.ask_to_stop("pause")
        elif self._seconds_run() > self._limit_seconds:
            self.ask_to_stop("time_limit")

    def _write(
        self, values: dict[str, Any], metrics: list[tuple[str, int, float]], events: list[tuple[str, Level]]
    ) -> JobStatus | None:
        with self.database.write() as session:
            status = leases.renew(session, self.lease, {**values, "seconds_run": self._seconds_run()})
            if status is None:
                return None
            record_metrics(session, self.lease.job_id, metrics)
            for message, level in events:
                record_event(session, self.lease.job_id, message, level=level)
            session.commit()
            return status

    def _seconds_run(self) -> float:
        return self._run_before_seconds + time.monotonic() - self._began
