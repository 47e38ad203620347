"""What the worker's tests share: a store, settings, and jobs made the way the service makes them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from core import leases
from core.blobs import Blobs
from core.database import Database
from core.jobs import Jobs
from core.leases import Lease
from core.settings import Settings
from core.spec import JobSpec
from core.tables import Job

OWNER = "local"
MakeJob = Callable[..., Job]
SMALLEST: dict[str, Any] = {
    "teacher": "teacher",
    "student": "student",
    "dataset": "ds_1",
    "task": "text-classification",
}


@pytest.fixture
def settings(tmp_path: Path, database_url: str) -> Settings:
    return Settings(data=tmp_path / "data", database_url=database_url, lease_seconds=5, max_attempts=2)


@pytest.fixture
def blobs(settings: Settings) -> Blobs:
    return Blobs(settings.storage)


@pytest.fixture
def queued(database: Database) -> MakeJob:
    """Add a queued job; keyword arguments go into its spec."""

    def add(owner: str = OWNER, **parts: Any) -> Job:
        with database.write() as session:
            job = Jobs(session, owner).add(JobSpec.model_validate(SMALLEST | parts))
            session.commit()
            return job

    return add


def claimed(database: Database, job: Job, token: str = "ours", seconds: float = 5) -> tuple[Lease, Job]:
    """Claim a job as a worker does."""
    lease = Lease(job.id, token, "worker-a", seconds)
    with database.write() as session:
        taken = leases.claim(session, lease)
        assert taken is not None
        session.commit()
    return lease, taken


def job_row(database: Database, job_id: str) -> Job:
    with database.read() as session:
        return session.get_one(Job, job_id)
