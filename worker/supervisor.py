"""Above the process wall: starts one training child per job, and sees that it ends."""

import os
import secrets
import shutil
import signal
import subprocess
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import structlog
from sqlalchemy.exc import DBAPIError

from core import leases
from core.blobs import Blobs
from core.database import Database
from core.errors import SecretNotFound, SecretsUnavailable, SecretUnreadable, TrainingKilled
from core.leases import Lease
from core.lifecycle import HELD, JobStatus
from core.sealing import seal_of
from core.secrets import Secrets
from core.settings import Settings
from core.tables import Job
from core.wire import FROM_OUTSIDE, NOT_CLAIMED, JobError, Order, how_ended
from worker.children import Children
from worker.job_log import JobLog

log = structlog.get_logger()

LOOK_SECONDS = 1.0
# The next child's imports take a core for seconds: not while this one reads its models and its user waits.
LOOKS_BEFORE_THE_NEXT = 20
SETTLE_SECONDS = 60.0


@dataclass
class Supervisor:
    database: Database
    blobs: Blobs
    settings: Settings
    worker: str
    children: Children = field(default_factory=Children)
    should_stop: threading.Event = field(default_factory=threading.Event)
    current: set[str] = field(default_factory=set)

    def run(self, job_id: str) -> bool:
        """Run a job in a child until that ends. Returns False when another worker had it already."""
        if self.should_stop.is_set():
            return True
        lease = Lease(job_id, secrets.token_hex(16), self.worker, self.settings.lease_seconds)
        order = self._order(lease)
        child = self.children.start(order)
        assert child.stdout is not None
        self.current.add(job_id)
        job_log: JobLog | None = None
        try:
            job_log = JobLog(child.stdout, self.blobs, job_id, self.settings.work, self.settings.max_log_bytes)
            code = self._wait(child, lease)
        finally:
            self.current.discard(job_id)
            _end(child)
            shutil.rmtree(self.settings.work / order.folder, ignore_errors=True)  # what a killed child left
            if job_log is not None:
                job_log.close()
            if not self.should_stop.is_set():
                self.children.prepare()
        if code == NOT_CLAIMED:
            return False
        self._settle(lease, code, job_log.last_lines())
        return True

    def _order(self, lease: Lease) -> Order:
        """Read what the child needs and must not find by itself."""
        order = Order(job=lease.job_id, token=lease.token, worker=lease.worker)
        with self.database.read() as session:
            job = session.get(Job, lease.job_id)
            name = secret_of(job.spec) if job is not None else None
            if job is None or name is None:
                return order
            try:
                value = Secrets(session, job.owner).reveal(seal_of(self.settings), name)
            except SecretNotFound:
                return order.model_copy(update={"withheld": {name: "it was removed"}})
            except (SecretUnreadable, SecretsUnavailable) as error:
                return order.model_copy(update={"withheld": {name: str(error)}})
            return order.model_copy(update={"secrets": {name: value}})

    def _wait(self, child: subprocess.Popen[bytes], lease: Lease) -> int:
        """Wait for the child; end it when it has outlived a cancel, a shutdown or its lease."""
        deadline: float | None = None
        claimed = False
        looks = 0
        while True:
            looks += 1
            if looks == LOOKS_BEFORE_THE_NEXT and not self.should_stop.is_set():
                self.children.prepare()
            try:
                return child.wait(LOOK_SECONDS)
            except subprocess.TimeoutExpired:
                status = self._held_status(lease)
            claimed = claimed or status is not None
            grace = self._grace_seconds(child, status, claimed)
            if grace is not None and deadline is None:
                deadline = time.monotonic() + grace
            if deadline is not None and time.monotonic() > deadline:
                log.warning("killing the training process", job_id=lease.job_id)
                _end(child)

    def _grace_seconds(self, child: subprocess.Popen[bytes], status: str | None, claimed: bool) -> float | None:
        """How long the child may still live, or None where nothing asks it to end."""
        if self.should_stop.is_set():
            child.send_signal(signal.SIGTERM)
            return self.settings.shutdown_grace_seconds
        lost_or_finished = claimed and status is None
        return self.settings.cancel_grace_seconds if lost_or_finished or status == JobStatus.CANCELLING else None

    def _held_status(self, lease: Lease) -> str | None:
        """The status of the job while our lease stands in its row, None otherwise."""
        try:
            with self.database.read() as session:
                job = session.get(Job, lease.job_id)
        except DBAPIError:
            # Nothing is known, so nothing has changed; the lease itself decides when the database is back.
            return JobStatus.RUNNING
        return job.status if job is not None and job.lease_token == lease.token else None

    def _settle(self, lease: Lease, code: int, last_lines: str) -> None:
        """Write down how a child ended that could not do so itself. If the database stays away, the sweep will."""
        deadline = time.monotonic() + SETTLE_SECONDS
        while True:
            try:
                return self._settle_once(lease, code, last_lines)
            except DBAPIError:
                if time.monotonic() > deadline:
                    return None
                time.sleep(1)

    def _settle_once(self, lease: Lease, code: int, last_lines: str) -> None:
        with self.database.write() as session:
            job = session.get(Job, lease.job_id)
            if job is None or job.status not in HELD or job.lease_token != lease.token:
                return
            killed = TrainingKilled(how_ended(code), last_lines)
            if leases.cancelled(session, lease):
                pass
            elif -code in FROM_OUTSIDE:
                leases.lost(session, lease, f"{killed}"[:1].upper() + f"{killed}"[1:], self.settings.max_attempts)
            else:
                error = JobError(
                    code=killed.code, message=str(killed), hint=killed.hint, stage=job.stage, blame=killed.blame
                )
                leases.fail(session, lease, error)
            session.commit()
            log.warning("training process ended", job_id=lease.job_id, how=how_ended(code))


def secret_of(spec: dict[str, Any]) -> str | None:
    """Return the name of the secret in a stored spec; a job on labels alone has no teacher that could need one."""
    teachers = spec["teacher"] if isinstance(spec["teacher"], list) else [spec["teacher"]]
    named = (teacher["endpoint"].get("secret") for teacher in teachers if teacher and teacher.get("endpoint"))
    return next(named, None)


def _end(child: subprocess.Popen[bytes]) -> None:
    """Kill the child and all that it started; it leads a process group of its own."""
    with suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()
    if child.stdin is not None:
        with suppress(BrokenPipeError):
            child.stdin.close()
