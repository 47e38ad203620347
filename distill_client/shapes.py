"""What the service answers, typed. Fields that a later server adds are kept, so that an older client passes them on."""

from datetime import datetime
from typing import Annotated, Any, Generic, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Discriminator, Tag

FINAL_STATUSES = frozenset({"succeeded", "failed", "cancelled"})
Json = dict[str, Any]


class Shape(BaseModel):
    model_config = ConfigDict(extra="allow", protected_namespaces=(), frozen=True)

    def as_json(self) -> Json:
        """The answer as the server wrote it."""
        return self.model_dump(mode="json", exclude_unset=True)


ShapeT = TypeVar("ShapeT", bound=Shape)


class Page(Shape, Generic[ShapeT]):
    data: list[ShapeT]
    has_more: bool = False
    last_id: str | None = None


class Progress(Shape):
    percent: float = 0.0
    step: int = 0
    total_steps: int | None = None
    epoch: float = 0.0
    seconds_elapsed: float = 0.0
    seconds_remaining: float | None = None
    queue_position: int | None = None


class JobError(Shape):
    code: str
    message: str
    hint: str = ""
    stage: str | None = None
    step: int | None = None
    blame: str = "platform"


class Quality(Shape):
    """One model on the held-out examples: shares in 0..1, KL in nats, latency in milliseconds."""

    accuracy: float | None = None
    errors: int | None = None
    macro_f1: float | None = None
    ce_loss: float | None = None
    agreement: float | None = None
    kl_to_teacher: float | None = None
    parameters: int | None = None
    bytes: int | None = None
    latency_ms: float | None = None
    examples_per_second: float | None = None


class Interval(Shape):
    low: float
    high: float


class Gain(Shape):
    accuracy: float
    accuracy_interval: Interval | None = None
    fewer_errors: float | None = None
    macro_f1: float | None = None
    agreement: float | None = None
    kl_to_teacher: float | None = None


class Report(Shape):
    """What a classifier's job is worth."""

    teacher: Quality | None = None
    student_before: Quality
    student_after: Quality
    baseline: Quality | None = None
    gain: Gain | None = None
    held_out: str = "test"
    labels: list[str] = []
    compression: float | None = None
    speedup: float | None = None
    verdict: str = ""


class WritingQuality(Shape):
    """One language model on the held-out completions, per token: loss and KL in nats, shares in 0..1."""

    loss: float | None = None
    perplexity: float | None = None
    agreement: float | None = None
    kl_to_teacher: float | None = None
    uld_to_teacher: float | None = None
    completions_loss: float | None = None
    pass_rate: float | None = None
    distinct_2: float | None = None
    parameters: int | None = None
    bytes: int | None = None
    tokens_per_second: float | None = None


class WritingGain(Shape):
    """What the teacher brought over the data set's own completions; below zero is better."""

    loss: float
    loss_interval: Interval | None = None
    kl_to_teacher: float | None = None
    kl_interval: Interval | None = None
    agreement: float | None = None


class Sample(Shape):
    """What each model writes after the prompt of a held-out example."""

    prompt: str
    reference: str | None = None
    teacher: str = ""
    student_before: str = ""
    student_after: str = ""


class Spent(Shape):
    """What a teacher behind an endpoint was asked, and what that cost in the currency of its prices."""

    requests: int
    prompt_tokens: int
    completion_tokens: int
    cost: float | None = None


class WrittenTexts(Shape):
    """What the teachers wrote for a student that learned from texts; `dropped` counts by reason."""

    prompts: int = 0
    samples: int = 0
    kept: int = 0
    dropped: dict[str, int] = {}
    engines: dict[str, str] = {}
    no_baseline: str | None = None
    incomparable: str | None = None
    spent: Spent | None = None


class Alignment(Shape):
    """How a student met the logits of a teacher with other tokens; `incomparable` says why there is no KL."""

    aligned_tokens: int = 0
    incomparable: str = ""


class GenerationReport(Shape):
    """What a language model's job is worth."""

    task: Literal["text-generation"]
    teacher: WritingQuality | None = None
    student_before: WritingQuality
    student_after: WritingQuality
    baseline: WritingQuality | None = None
    gain: WritingGain | None = None
    texts: WrittenTexts | None = None
    alignment: Alignment | None = None
    samples: list[Sample] = []
    held_out: str = "test"
    compression: float | None = None
    speedup: float | None = None
    verdict: str = ""


def _kind_of_report(report: Any) -> str:
    task = report.get("task") if isinstance(report, dict) else getattr(report, "task", None)
    return "writing" if task == "text-generation" else "classes"


AnyReport = Annotated[
    Annotated[Report, Tag("classes")] | Annotated[GenerationReport, Tag("writing")], Discriminator(_kind_of_report)
]


class Job(Shape):
    id: str
    status: str
    name: str | None = None
    stage: str | None = None
    task: str | None = None
    created_at: datetime | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    attempt: int = 1
    spec: Json = {}
    progress: Progress = Progress()
    metrics: dict[str, float] = {}
    models: dict[str, int | None] | None = None
    report: AnyReport | None = None
    warnings: list[str] = []
    error: JobError | None = None
    estimate: Json | None = None
    links: dict[str, str | None] = {}

    @property
    def is_finished(self) -> bool:
        return self.status in FINAL_STATUSES


class Resolved(Shape):
    """The answer to a dry run: the spec with every default, and what it would take."""

    spec: Json
    estimate: Json | None = None
    warnings: list[str] = []


class SweepPoint(Shape):
    """One line of a sweep's table; the student's figures are None until its job has succeeded."""

    place: int
    values: Json
    job_id: str | None = None
    status: str | None = None
    stage: str | None = None
    percent: float = 0.0
    error: str | None = None
    quality: float | None = None
    gain: float | None = None
    baseline_job_id: str | None = None
    agreement: float | None = None
    kl_to_teacher: float | None = None
    parameters: int | None = None
    bytes: int | None = None
    latency_ms: float | None = None
    per_second: float | None = None


class Sweep(Shape):
    """Jobs that differ in the grid's values alone. In lists `points` is empty; `front` and `best` are jobs' ids."""

    id: str
    status: str
    name: str | None = None
    counts: dict[str, int] = {}
    percent: float = 0.0
    created_at: datetime | None = None
    base: Json = {}
    grid: dict[str, list[Any]] = {}
    notes: list[str] = []
    measure: str | None = None
    points: list[SweepPoint] = []
    front: list[str] = []
    best: str | None = None

    @property
    def is_finished(self) -> bool:
        return self.status in FINAL_STATUSES

    @property
    def best_point(self) -> SweepPoint | None:
        return next((point for point in self.points if self.best is not None and point.job_id == self.best), None)


class SweepPlan(Shape):
    """The answer to a dry run: what the jobs would be, and what they would take one after the other."""

    points: list[Json]
    estimate: Json | None = None
    notes: list[str] = []


class Event(Shape):
    """One line of a job's stream. `progress` and `metric` carry numbers in `data`, the others a sentence."""

    type: Literal["status", "progress", "metric", "log", "done"]
    id: str | None = None
    data: Json = {}

    @property
    def message(self) -> str:
        return str(self.data.get("message", ""))

    @property
    def level(self) -> str:
        return str(self.data.get("level", "info"))


class Artifact(Shape):
    path: str
    bytes: int
    sha256: str
    media_type: str = "application/octet-stream"
    href: str = ""


class Checkpoint(Shape):
    id: str
    step: int
    bytes: int
    phase: str | None = None
    metrics: dict[str, float] = {}
    created_at: datetime | None = None


class Dataset(Shape):
    id: str
    name: str
    bytes: int
    examples: int
    columns: list[Json] = []
    derived_from: str | None = None
    created_at: datetime | None = None


class Reading(Shape):
    """An example as a language model reads it, cut at `max_length` tokens; the lists are of equal length."""

    ids: list[int]
    texts: list[str]
    learned: list[bool]
    tokens: int
    is_cut: bool


class ModelFile(Shape):
    path: str
    bytes: int
    sha256: str


class Model(Shape):
    """`id` is the name, as in OpenAI's list; `model_id` is opaque and never used twice."""

    id: str
    model_id: str = ""
    task: str | None = None
    source: str | None = None
    architecture: str | None = None
    labels: list[Any] | None = None
    parameters: int | None = None
    bytes: int | None = None
    job: str | None = None
    files: list[ModelFile] = []


class ApiKey(Shape):
    """`secret` is there once, in the answer that made the key."""

    id: str
    name: str
    owner: str | None = None
    scopes: list[str] = []
    hint: str | None = None
    secret: str | None = None
    created_at: datetime | None = None
    expires_at: datetime | None = None
    revoked_at: datetime | None = None


class Secret(Shape):
    """A value's name. The value itself is in no answer."""

    id: str
    name: str
    created_at: datetime | None = None
    updated_at: datetime | None = None
