"""`/v1/system`: versions, workers, queues."""

import platform
import shutil
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any, Literal

from fastapi import APIRouter
from pydantic import BaseModel
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from core.clock import database_now
from core.lifecycle import HELD, JobStatus
from core.settings import Settings
from core.tables import Job, Worker
from migrations.revisions import newest
from service.deps import ReadDep, SettingsDep
from service.openapi import problems
from service.strict import StrictRoute

router = APIRouter(prefix="/v1/system", tags=["system"], route_class=StrictRoute, responses=problems())

PACKAGES = ("distillation-service", "fastapi", "sqlalchemy", "celery", "pyarrow", "obstore")
IN_LINE = HELD | {JobStatus.QUEUED}
"""What a queue holds: a job that is paused has left it."""
# A worker that has said nothing for a day is history.
FORGOTTEN_SECONDS = 24 * 3600


class WorkerOut(BaseModel):
    name: str
    queues: list[str]
    devices: list[Any]
    versions: dict[str, Any]
    job_id: str | None
    started_at: datetime
    heartbeat_at: datetime
    heartbeat_age_seconds: float


class QueueOut(BaseModel):
    name: str
    queued: int
    running: int


class DiskOut(BaseModel):
    """The disk of the data folder, where uploads are checked and, without a storage URL, everything is kept."""

    free_bytes: int
    total_bytes: int


class SystemOut(BaseModel):
    object: Literal["system"] = "system"
    versions: dict[str, str]
    database: str
    revision: str
    disk: DiskOut
    workers: list[WorkerOut]
    queues: list[QueueOut]


@router.get("", response_model=SystemOut)
def get_system(session: ReadDep, settings: SettingsDep) -> SystemOut:
    """What runs here, who works, how much waits."""
    now = session.scalar(select(database_now()))
    assert now is not None, "every database has a clock"
    recent = select(Worker).where(Worker.heartbeat_at > database_now(-FORGOTTEN_SECONDS)).order_by(Worker.name)
    versions = {name: version(name) for name in PACKAGES} | {"python": platform.python_version()}
    return SystemOut(
        versions=versions,
        database=session.get_bind().dialect.name,
        revision=newest(),
        disk=_disk(settings),
        workers=[_worker(row, now) for row in session.scalars(recent)],
        queues=_queues(session),
    )


def _disk(settings: Settings) -> DiskOut:
    usage = shutil.disk_usage(settings.data)
    return DiskOut(free_bytes=usage.free, total_bytes=usage.total)


def _worker(row: Worker, now: datetime) -> WorkerOut:
    age = max(0.0, (now.astimezone(UTC) - row.heartbeat_at).total_seconds())
    names = ("name", "queues", "devices", "versions", "job_id", "started_at", "heartbeat_at")
    return WorkerOut(**{name: getattr(row, name) for name in names}, heartbeat_age_seconds=round(age, 1))


def _queues(session: Session) -> list[QueueOut]:
    query = select(Job.queue, Job.status, func.count()).where(Job.status.in_(IN_LINE)).group_by(Job.queue, Job.status)
    counts: dict[str, dict[str, int]] = {}
    for queue, state, count in session.execute(query):
        kind = "queued" if state == "queued" else "running"
        counts.setdefault(queue, {"queued": 0, "running": 0})[kind] += count
    return [QueueOut(name=name, **lengths) for name, lengths in sorted(counts.items())]
