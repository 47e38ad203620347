"""A job as the contract shows it."""

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from core.lifecycle import JobStatus
from core.report import REPORT, Report, Sizes
from core.spec import JobSpec
from core.tables import Artifact, Checkpoint, Event, Job
from core.wire import Estimate, EventType, JobError, Level, Progress, Stage


class Out(BaseModel):
    model_config = ConfigDict(protected_namespaces=())


class ProgressOut(Progress):
    queue_position: int | None = None


class LossOut(Out):
    """What is minimised. T and alpha are null where they play no part: the labels are the teacher's texts."""

    formula: str
    T: float | None
    alpha: float | None


class LinksOut(Out):
    self: str
    stream: str
    cancel: str
    artifacts: str
    student: str
    dashboard: str | None


class JobOut(Out):
    id: str
    object: Literal["distillation.job"] = "distillation.job"
    name: str | None
    task: str
    status: JobStatus
    stage: Stage | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    updated_at: datetime
    attempt: int
    spec: JobSpec
    progress: ProgressOut
    metrics: dict[str, float]
    loss: LossOut
    models: Sizes | None
    report: Report | None
    warnings: list[str]
    error: JobError | None
    estimate: Estimate | None
    labels: dict[str, str]
    links: LinksOut


def job_out(job: Job, queue_position: int | None = None) -> JobOut:
    spec = JobSpec.model_validate(job.spec)
    columns = {
        name: getattr(job, name)
        for name in ("id", "name", "task", "status", "stage", "created_at", "started_at", "finished_at", "updated_at")
    }
    return JobOut(
        **columns,
        attempt=job.attempt,
        spec=spec,
        progress=ProgressOut(**job.progress, queue_position=queue_position),
        metrics=job.metrics,
        loss=_loss(spec),
        models=Sizes(**job.sizes) if job.sizes else None,
        report=REPORT.validate_python(job.report) if job.report else None,
        warnings=job.warnings,
        error=JobError.model_validate(job.error) if job.error else None,
        estimate=Estimate.model_validate(job.estimate) if job.estimate else None,
        labels=spec.labels,
        links=links_of(job.id),
    )


def _loss(spec: JobSpec) -> LossOut:
    is_mixed = spec.method.type != "sequence"
    has_alpha = is_mixed or spec.hears_likeliest
    return LossOut(formula=spec.loss_formula, T=spec.T if is_mixed else None, alpha=spec.alpha if has_alpha else None)


def links_of(job_id: str) -> LinksOut:
    here = f"/v1/jobs/{job_id}"
    return LinksOut(
        self=here,
        stream=f"{here}/events",
        cancel=f"{here}/cancel",
        artifacts=f"{here}/artifacts",
        student=f"{here}/student.zip",
        dashboard=None,
    )


class DryRunOut(Out):
    """A checked spec: what a job of it would be."""

    object: Literal["distillation.dry_run"] = "distillation.dry_run"
    spec: JobSpec
    estimate: Estimate
    warnings: list[str]


class EventOut(Out):
    id: str
    object: Literal["distillation.event"] = "distillation.event"
    seq: int
    type: EventType
    level: Level
    message: str
    data: dict[str, Any]
    created_at: datetime


def event_out(event: Event) -> EventOut:
    return EventOut.model_validate(event, from_attributes=True)


class PointOut(Out):
    step: int
    value: float | None


class MetricsOut(Out):
    object: Literal["distillation.metrics"] = "distillation.metrics"
    job_id: str
    series: dict[str, list[PointOut]]


class CheckpointOut(Out):
    id: str
    object: Literal["distillation.checkpoint"] = "distillation.checkpoint"
    phase: str
    step: int
    attempt: int
    metrics: dict[str, float]
    bytes: int
    created_at: datetime
    href: str


def checkpoint_out(row: Checkpoint) -> CheckpointOut:
    href = f"/v1/jobs/{row.job_id}/checkpoints/{row.id}/checkpoint.zip"
    names = ("id", "phase", "step", "attempt", "metrics", "bytes", "created_at")
    return CheckpointOut(**{name: getattr(row, name) for name in names}, href=href)


class ArtifactOut(Out):
    object: Literal["distillation.artifact"] = "distillation.artifact"
    path: str
    bytes: int
    sha256: str
    media_type: str
    href: str


def artifact_out(row: Artifact) -> ArtifactOut:
    href = f"/v1/jobs/{row.job_id}/artifacts/{row.path}"
    return ArtifactOut(path=row.path, bytes=row.bytes, sha256=row.sha256, media_type=row.media_type, href=href)


class ResultOut(Out):
    """How a finished job ended."""

    object: Literal["distillation.result"] = "distillation.result"
    id: str
    status: JobStatus
    report: Report | None
    artifacts: list[ArtifactOut]
    error: JobError | None
    links: LinksOut
