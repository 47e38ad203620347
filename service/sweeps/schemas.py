"""A sweep as the contract shows it."""

from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from core.lifecycle import FINAL, JobStatus
from core.sweeps import Look, status_of
from core.tables import Sweep
from core.wire import Estimate, Stage
from service.sweeps.planning import Plan

Measure = Literal["accuracy", "agreement", "pass_rate", "completions_loss", "loss"]


class Out(BaseModel):
    model_config = ConfigDict(protected_namespaces=())


class CountsOut(Out):
    """How many points have a job in each status; `deleted` ones have none any more."""

    queued: int = 0
    running: int = 0
    pausing: int = 0
    paused: int = 0
    cancelling: int = 0
    succeeded: int = 0
    failed: int = 0
    cancelled: int = 0
    deleted: int = 0


class SweepLinksOut(Out):
    self: str
    cancel: str


class SweepOut(Out):
    id: str
    object: Literal["distillation.sweep"] = "distillation.sweep"
    name: str | None
    status: JobStatus = Field(
        description="running until its last job is finished, paused where only paused ones are left; failed if one did."
    )
    counts: CountsOut
    percent: float
    created_at: datetime
    base: dict[str, Any]
    grid: dict[str, list[Any]]
    notes: list[str]
    links: SweepLinksOut


class PointOut(Out):
    """One line of a sweep's table: the student's figures on the held-out examples, null until its job succeeded."""

    place: int
    values: dict[str, Any]
    job_id: str | None
    status: JobStatus | None = Field(description="null once the job was deleted.")
    stage: Stage | None
    percent: float
    error: str | None = Field(description="The code of a failed job's error.")
    quality: float | None = Field(description="What `measure` of the sweep names.")
    gain: float | None = Field(description="Quality minus that of the student on labels alone.")
    baseline_job_id: str | None = Field(description="The job whose student on labels alone is this point's too.")
    agreement: float | None
    kl_to_teacher: float | None
    parameters: int | None
    bytes: int | None
    latency_ms: float | None = Field(description="Of one example alone; of one token that a language model writes.")
    per_second: float | None = Field(description="Examples per second in batches; tokens per second at batch 1.")


class SweepTableOut(SweepOut):
    """A sweep with its table. Points are compared where their jobs succeeded."""

    measure: Measure | None = Field(description="What quality is: less is better for losses, more for the others.")
    points: list[PointOut]
    front: list[str] = Field(
        description="Jobs whose students no other point beats in quality, bytes and latency at once, the smallest "
        "first. Students of one shape count as equally fast."
    )
    best: str | None = Field(description="The job of the best quality.")


class PlannedPointOut(Out):
    place: int
    values: dict[str, Any]
    trains_baseline: bool


class SweepDryRunOut(Out):
    """A checked sweep: what its jobs would be."""

    object: Literal["distillation.sweep_dry_run"] = "distillation.sweep_dry_run"
    points: list[PlannedPointOut]
    estimate: Estimate = Field(description="Of all jobs, one after the other.")
    notes: list[str]


def sweep_out(row: Sweep, looks: Sequence[Look]) -> SweepOut:
    counts = Counter(look.status or "deleted" for look in looks)
    done = [100.0 if look.status is None or look.status in FINAL else look.percent for look in looks]
    here = f"/v1/sweeps/{row.id}"
    columns = {name: getattr(row, name) for name in ("id", "name", "created_at", "base", "grid", "notes")}
    return SweepOut(
        **columns,
        status=status_of([look.status for look in looks]),
        counts=CountsOut(**counts),
        percent=round(sum(done) / len(done), 1),
        links=SweepLinksOut(self=here, cancel=f"{here}/cancel"),
    )


def dry_run_out(plan: Plan) -> SweepDryRunOut:
    points = [
        PlannedPointOut(place=place + 1, values=dict(point.values), trains_baseline=point.baseline_at == place)
        for place, point in enumerate(plan.points)
    ]
    return SweepDryRunOut(points=points, estimate=plan.estimate, notes=list(plan.notes))
