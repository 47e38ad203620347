"""A guess, before anything runs, at what a job will take.

Time is the work in floating-point operations (2 per parameter and token forwards, 4 more backwards; embeddings are
looked up, not multiplied) over a speed. The speed is what the last finished jobs of this service reached; before there
is any it is an assumption about two CPU cores. Expect the right order of magnitude, not more: texts differ in length,
machines in load, and a hub's models are not known here.
"""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from core.architectures import MlpSpec
from core.datasets import Datasets
from core.errors import DatasetNotFound
from core.lifecycle import JobStatus
from core.methods import GenerationSpec
from core.models import Models
from core.spec import JobSpec
from core.tables import Dataset, Job, Model
from core.wire import Estimate
from service.jobs.black_box import cost_at_most
from service.jobs.checked import Checked

ASSUMED_FLOPS_PER_SECOND = 50e9
START_SECONDS = 8.0
CHARACTERS_PER_TOKEN = 4.5
UNKNOWN_EXAMPLES = 10_000
UNKNOWN_BODY, UNKNOWN_EMBEDDINGS = 86_000_000, 24_000_000
UNKNOWN_CLASSES = 10
UNKNOWN_PIXELS, PATCHES = 3 * 224 * 224, 197.0
"""What most image classifiers read: 224 x 224 pixels in colour, as 14 x 14 patches and one token more."""
JOBS_REMEMBERED = 5
BYTES_PER_WEIGHT = 4
BYTES_PER_TRAINED_WEIGHT = 16
"""Weight, gradient and Adam's two moments, float32."""
BYTES_PER_SHARED_WEIGHT = 12
"""Weight, gradient and what travels, in each process that computes gradients for the first."""
PROCESS_BYTES = 350_000_000
WRITTEN_TOKEN = 6.0
"""Tokens that are read in the time in which one is written: every weight is fetched for a few rows alone."""


@dataclass(frozen=True)
class Size:
    body: int
    """Parameters that are multiplied with."""
    embeddings: int
    reads: float = 1.0
    """At how many places of an example each parameter is used: tokens, patches, or 1 for a network on raw pixels."""

    @property
    def total(self) -> int:
        return self.body + self.embeddings

    def multiplied(self, spec: JobSpec) -> int:
        """Parameters that each token is multiplied with: a language model's head is as large as its embeddings."""
        return self.total if spec.task == "text-generation" else self.body


def estimate(session: Session, checked: Checked) -> Estimate:
    """Guess, and warn where the guess is longer than the job may run."""
    spec = checked.spec
    teachers = [_size_of(spec, checked.dataset, model) for model in checked.teachers]
    teacher = next(iter(checked.teachers), None)
    student = _student_size(spec, checked.dataset, teacher, checked.student)
    work = _flops(spec, checked.dataset, teachers, student)
    seconds, most_minutes = START_SECONDS + work / _measured_speed(session), spec.resources.max_minutes
    if seconds > most_minutes * 60:
        checked.warnings.append(
            f"About {math.ceil(seconds / 60):,} minutes are estimated, and resources.max_minutes ends the job after "
            f"{most_minutes:,g}."
        )
    tokens = spec.training.batch_examples * student.reads
    # Activations of one step: about 16 values per token for each of the square root of the body's parameters.
    activations = int(16 * BYTES_PER_WEIGHT * tokens * student.body**0.5)
    largest = max((size.total for size in teachers), default=0)
    resident = BYTES_PER_WEIGHT * largest + BYTES_PER_TRAINED_WEIGHT * student.total
    others, shared = spec.resources.processes - 1, student.embeddings if spec.resources.sharded else student.total
    resident += others * (PROCESS_BYTES + BYTES_PER_SHARED_WEIGHT * shared)
    disk = BYTES_PER_WEIGHT * sum(size.total for size in teachers) + 3 * 3 * BYTES_PER_WEIGHT * student.total
    if spec.method.type == "sequence" and spec.method.generation.engine == "vllm":
        disk += BYTES_PER_WEIGHT * largest  # it reads a copy of the teacher whose turn it is
    disk += _examples(spec, checked.dataset) * _pixels(spec, checked.dataset)
    return Estimate(
        seconds=round(min(seconds, most_minutes * 60), 1),
        peak_memory_bytes=PROCESS_BYTES + resident + activations,
        disk_bytes=disk,
        cost=cost_at_most(spec, _examples(spec, checked.dataset), _prompt_tokens(spec, checked.dataset)),
    )


def _flops(spec: JobSpec, dataset: Dataset | None, teachers: Sequence[Size], student: Size) -> float:
    """Operations of the whole job: fine-tuning, the teacher's one reading, training, and the baseline's training."""
    if spec.method.type == "sequence":
        return _texts_flops(spec, spec.method.generation, dataset, teachers, student)
    examples = _examples(spec, dataset)
    per_step = spec.training.step_examples
    steps = spec.training.max_steps or max(1.0, spec.training.epochs * examples / per_step)
    total = _trainings(spec, dataset) * 6.0 * student.multiplied(spec) * student.reads * steps * per_step
    labelled = _labelled(spec, dataset)
    for teacher, size in zip(spec.teacher_models, teachers, strict=True):
        looks = examples if spec.training.augment is None else steps * per_step
        looks += steps * per_step if spec.method.type == "logits" and spec.method.hidden is not None else 0
        total += 2.0 * size.multiplied(spec) * size.reads * looks
        if teacher.finetune is not None:
            total += 6.0 * size.multiplied(spec) * size.reads * labelled * teacher.finetune.epochs
    if spec.method.type == "on_policy":
        written = spec.method.student_share * spec.method.generation.max_new_tokens
        total += steps * per_step * 2.0 * WRITTEN_TOKEN * student.multiplied(spec) * written
        total += steps * per_step * 2.0 * sum(size.multiplied(spec) * size.reads for size in teachers)
    return total


def _trainings(spec: JobSpec, dataset: Dataset | None) -> int:
    """Return how often the student is trained: a second time where a baseline has something to learn from."""
    if spec.task == "text-generation":
        return 2 if spec.evaluation.baseline and spec.alpha > 0 and _has_completions(spec, dataset) else 1
    return 2 if spec.evaluation.baseline and spec.teacher else 1


def _has_completions(spec: JobSpec, dataset: Dataset | None) -> bool:
    names = (spec.dataset.columns.completion, str(spec.dataset.columns.messages), spec.dataset.columns.text)
    return any(_column(dataset, name) is not None for name in names)


def _texts_flops(
    spec: JobSpec, generation: GenerationSpec, dataset: Dataset | None, teachers: Sequence[Size], student: Size
) -> float:
    """Operations of a job by texts, as if each were as long as it may be and all were kept."""
    examples, asked = _examples(spec, dataset), _prompt_tokens(spec, dataset)
    texts, written = examples * generation.samples_per_prompt, generation.max_new_tokens
    tokens = min(spec.training.max_length, asked + written)
    per_step = spec.training.step_examples
    steps = spec.training.max_steps or max(1.0, spec.training.epochs * texts / per_step)
    completions = _column(dataset, spec.dataset.columns.completion) or _column(
        dataset, str(spec.dataset.columns.messages)
    )
    trainings = 2 if spec.evaluation.baseline and completions is not None else 1
    total = trainings * 6.0 * student.multiplied(spec) * tokens * steps * per_step
    for teacher, size in zip(spec.teacher_models, teachers, strict=True):
        total += 2.0 * size.multiplied(spec) * texts * (asked + WRITTEN_TOKEN * written) / len(teachers)
        if teacher.finetune is not None:
            total += 6.0 * size.multiplied(spec) * tokens * examples * teacher.finetune.epochs
    return total


def _measured_speed(session: Session) -> float:
    """Median operations per second over the last finished jobs whose inputs are still here."""
    query = select(Job).where(Job.status == JobStatus.SUCCEEDED, Job.seconds_run > START_SECONDS)
    rows = session.scalars(query.order_by(Job.id.desc()).limit(JOBS_REMEMBERED))
    speeds = [speed for job in rows if (speed := _speed_of(session, job)) is not None]
    return statistics.median(speeds) if speeds else ASSUMED_FLOPS_PER_SECOND


def _speed_of(session: Session, job: Job) -> float | None:
    spec = JobSpec.model_validate(job.spec)
    models = Models(session, job.owner)
    teachers = [models.find(teacher.model) for teacher in spec.teacher_models]
    try:
        dataset = Datasets(session, job.owner).get(spec.dataset.id)
    except DatasetNotFound:
        return None
    if None in teachers:
        return None
    given = models.find(spec.student.model) if spec.student.model else None
    student = _student_size(spec, dataset, next(iter(teachers), None), given)
    work = _flops(spec, dataset, [_size_of(spec, dataset, teacher) for teacher in teachers], student)
    return work / (job.seconds_run - START_SECONDS) or None


def _size_of(spec: JobSpec, dataset: Dataset | None, model: Model | None) -> Size:
    if model is None:
        return Size(UNKNOWN_BODY, UNKNOWN_EMBEDDINGS, _reads(spec, dataset))
    reads = 1.0 if model.architecture.startswith("PixelMlp") else _reads(spec, dataset)
    return Size(model.parameters - model.embedding_parameters, model.embedding_parameters, reads)


def _student_size(spec: JobSpec, dataset: Dataset | None, teacher: Model | None, given: Model | None) -> Size:
    if isinstance(spec.student.config, MlpSpec):
        return Size(spec.student.config.parameters(_pixels(spec, dataset), UNKNOWN_CLASSES), 0)
    whole = _size_of(spec, dataset, teacher)
    if spec.student.config is not None:
        return _size_of_config(spec.student.config, whole.embeddings, _reads(spec, dataset))
    if spec.student.from_teacher is not None:
        layers = (teacher.layers if teacher is not None else None) or 12
        share = min(1.0, len(spec.student.from_teacher.layers) / layers)
        return Size(int(whole.body * share), whole.embeddings, whole.reads)
    return _size_of(spec, dataset, given)


def _size_of_config(config: Mapping[Any, Any], embeddings: int, reads: float) -> Size:
    def number(*names: str, default: int) -> int:
        values = (config.get(name) for name in names)
        return next((value for value in values if isinstance(value, int)), default)

    hidden = number("hidden_size", "dim", default=768)
    layers = number("num_hidden_layers", "n_layers", default=12)
    inner = number("intermediate_size", "hidden_dim", default=3072)
    vocabulary = number("vocab_size", default=max(1, embeddings // hidden))
    return Size(layers * (4 * hidden * hidden + 2 * hidden * inner), vocabulary * hidden, reads)


def _examples(spec: JobSpec, dataset: Dataset | None) -> int:
    known = dataset.examples if dataset is not None else UNKNOWN_EXAMPLES
    wanted = spec.dataset.max_examples
    return known if wanted is None else min(known, wanted)


def _labelled(spec: JobSpec, dataset: Dataset | None) -> int:
    column = _column(dataset, spec.dataset.columns.label)
    return _examples(spec, dataset) - int(column["nulls"] if column else 0)


def _pixels(spec: JobSpec, dataset: Dataset | None) -> int:
    """Bytes of an image as a worker keeps it, ready to be read; 0 for texts."""
    if spec.task != "image-classification":
        return 0
    column = _column(dataset, spec.dataset.columns.image)
    frame = column.get("images") if column else None
    if frame is None or not isinstance(spec.student.config, MlpSpec):
        return UNKNOWN_PIXELS
    return int(frame["widths"][1] * frame["heights"][1] * frame["channels"])


def _reads(spec: JobSpec, dataset: Dataset | None) -> float:
    """Tokens of a text; for images the patches of most transformers, about which no row says more."""
    if spec.task == "image-classification":
        return PATCHES
    columns = spec.dataset.columns
    present = [column["name"] for column in dataset.columns] if dataset is not None else []
    is_prompted = spec.task == "text-generation" and columns.form_of(present) == "prompt"
    names = [columns.prompt, columns.completion] if is_prompted else [columns.text]
    means = [column.get("mean_characters") or 0 for name in names if (column := _column(dataset, name))]
    tokens = 2 + (sum(means) or 100) / CHARACTERS_PER_TOKEN
    return float(min(spec.training.max_length, tokens))


def _prompt_tokens(spec: JobSpec, dataset: Dataset | None) -> float:
    columns = spec.dataset.columns
    form = columns.form_of([column["name"] for column in dataset.columns] if dataset is not None else [])
    column = _column(dataset, getattr(columns, form)) if form is not None else None
    return ((column.get("mean_characters") if column else None) or 100) / CHARACTERS_PER_TOKEN


def _column(dataset: Dataset | None, name: str) -> dict[str, Any] | None:
    columns = dataset.columns if dataset is not None else []
    return next((column for column in columns if column["name"] == name), None)
