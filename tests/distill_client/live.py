"""The real service as a process, and a worker that a test plays through core, step by step."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from core.blobs import Blobs
from core.database import Database
from core.events import record_event, record_metrics
from core.ids import make_id
from core.jobs import Jobs
from core.leases import Lease, claim, fail, renew, succeed
from core.settings import Settings
from core.spec import JobSpec
from core.tables import Artifact, Checkpoint
from core.wire import JobError, Progress
from distill_client import Client
from migrations.revisions import upgrade
from tests.servers import free_port

OWNER = "local"
SPEC = {
    "name": "reviews",
    "task": "text-classification",
    "teacher": "minilm",
    "student": {"config": {"model_type": "bert"}},
    "dataset": "ds_1",
}


def quality(accuracy: float) -> dict[str, object]:
    return {
        "accuracy": accuracy,
        "macro_f1": accuracy - 0.01,
        "ce_loss": 0.5,
        "agreement": 0.9,
        "kl_to_teacher": 0.12,
        "parameters": 4_386_178,
        "bytes": 17_550_000,
        "latency_ms": 1.25,
        "examples_per_second": 4000.0,
    }


REPORT = {
    "task": "text-classification",
    "held_out": "test",
    "examples": {"train": 8605, "labelled": 500, "validation": 0, "test": 2000, "truncated": 3},
    "labels": ["negative", "positive"],
    "student": {"architecture": "BertForSequenceClassification", "layers": 2, "embedding_parameters": 3_900_000},
    "teacher": quality(0.79),
    "teachers": {},
    "student_before": quality(0.5),
    "student_after": quality(0.738),
    "baseline": quality(0.643),
    "gain": {
        "accuracy": 0.095,
        "accuracy_interval": {"low": 0.072, "high": 0.119},
        "macro_f1": 0.09,
        "agreement": 0.1,
        "kl_to_teacher": -0.2,
    },
    "classes": [],
    "compression": 5.2,
    "speedup": 7.9,
    "cost": {"seconds": {"training": 60.0}, "steps": 806, "device": "cpu", "precision": "bf16"},
    "verdict": "The student keeps 93 % of the teacher's accuracy.",
}


@dataclass(frozen=True)
class Live:
    url: str
    folder: Path
    database: Database
    blobs: Blobs

    def client(self) -> Client:
        return Client(self.url)

    def job(self, **changes: object) -> str:
        """A queued job, as the service would store it."""
        with self.database.write() as session:
            job = Jobs(session, OWNER).add(JobSpec.model_validate({**SPEC, **changes}))
            session.commit()
            return job.id

    def worker(self, job_id: str) -> "PlayedWorker":
        """Claim the job."""
        lease = Lease(job_id, make_id("evt"), "played", 600)
        with self.database.write() as session:
            assert claim(session, lease) is not None
            session.commit()
        return PlayedWorker(self, lease)

    def finished_job(self, **changes: object) -> str:
        """A job that succeeded, with a student of three files and a teacher of one."""
        job_id = self.job(**changes)
        worker = self.worker(job_id)
        worker.losses(10, kd_loss=1.7, ce_loss=2.3)
        worker.losses(20, kd_loss=1.1, ce_loss=2.1)
        worker.artifact("config.json", b'{"model_type": "bert"}')
        worker.artifact("model.safetensors", bytes(range(256)) * 400)
        worker.artifact("report.html", b"<html>report</html>", "text/html")
        worker.artifact("teacher/config.json", b'{"model_type": "bert", "is": "teacher"}')
        worker.succeed()
        return job_id


@dataclass
class PlayedWorker:
    """Writes what a worker writes, through the same functions."""

    live: Live
    lease: Lease

    def stage(self, stage: str, percent: float = 0.0, step: int = 0, total_steps: int = 100) -> None:
        progress = Progress(percent=percent, step=step, total_steps=total_steps, seconds_remaining=12.0)
        with self.live.database.write() as session:
            renew(session, self.lease, {"stage": stage, "progress": progress.model_dump()})
            session.commit()

    def losses(self, step: int, **values: float) -> None:
        with self.live.database.write() as session:
            record_metrics(session, self.lease.job_id, [(name, step, value) for name, value in values.items()])
            renew(session, self.lease, {"metrics": values})
            session.commit()

    def say(self, message: str) -> None:
        with self.live.database.write() as session:
            record_event(session, self.lease.job_id, message)
            session.commit()

    def log(self, text: str) -> None:
        path = self.live.folder / "printed.log"
        path.write_text(text)
        self.live.blobs.put(f"jobs/{self.lease.job_id}/log.txt", path)

    def artifact(self, path: str, content: bytes, media_type: str = "application/octet-stream") -> None:
        file = self.live.folder / "artifact"
        file.write_bytes(content)
        stored = self.live.blobs.put(f"jobs/{self.lease.job_id}/artifacts/{path}", file)
        with self.live.database.write() as session:
            row = {"path": path, "bytes": stored.bytes, "sha256": stored.sha256, "media_type": media_type}
            session.add(Artifact(job_id=self.lease.job_id, blob_key=stored.key, **row))
            session.commit()

    def checkpoint(self, step: int) -> str:
        checkpoint_id, file = make_id("ckpt"), self.live.folder / "state.bin"
        file.write_bytes(f"state {step}".encode())
        stored = self.live.blobs.put(f"jobs/{self.lease.job_id}/checkpoints/{checkpoint_id}/state.bin", file)
        files = [{"path": "state.bin", "bytes": stored.bytes, "sha256": stored.sha256}]
        row = {"job_id": self.lease.job_id, "phase": "student", "attempt": 1, "bytes": stored.bytes, "files": files}
        with self.live.database.write() as session:
            session.add(Checkpoint(id=checkpoint_id, step=step, **row))
            session.commit()
        return checkpoint_id

    def succeed(self, report: dict[str, object] | None = None) -> None:
        with self.live.database.write() as session:
            succeed(session, self.lease, report or REPORT)
            session.commit()

    def fail(self, error: JobError) -> None:
        with self.live.database.write() as session:
            fail(session, self.lease, error)
            session.commit()


@contextmanager
def live_service(folder: Path, port: int | None = None) -> Iterator[Live]:
    """A service on SQLite and a folder. No broker: jobs are stored, and wait for the worker that the test plays."""
    settings = Settings(data=folder)
    port = port or free_port()
    upgrade(settings.database)
    with running_service(folder, port):
        database = Database(settings.database)
        yield Live(f"http://127.0.0.1:{port}", folder, database, Blobs(settings.storage))
        database.close()


@contextmanager
def running_service(folder: Path, port: int) -> Iterator[None]:
    broker = f"redis://127.0.0.1:{free_port()}/0"
    given = {"DISTILL_DATA": str(folder), "DISTILL_PORT": str(port), "DISTILL_BROKER_URL": broker}
    with (folder / "service.log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "service"], env={**os.environ, **given}, stdout=log, stderr=log
        )
    try:
        _wait_for(f"http://127.0.0.1:{port}/healthz", process, folder / "service.log")
        yield
    finally:
        process.terminate()
        process.wait(15)


def _wait_for(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 30
    while True:
        assert process.poll() is None, log.read_text()
        try:
            if httpx.get(url, trust_env=False).status_code == 200:
                return
        except httpx.TransportError:
            assert time.monotonic() < deadline, "the service did not answer"
        time.sleep(0.05)
