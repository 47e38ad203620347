"""The report: the proof that users pay for. Written by the trainer, served and drawn by everyone else."""

from typing import Literal

from pydantic import BaseModel, ConfigDict


class Part(BaseModel):
    model_config = ConfigDict(extra="forbid", protected_namespaces=())


class Quality(Part):
    """One model on the held-out examples. Latency and throughput are medians on the worker's own device."""

    accuracy: float | None
    """None, like macro_f1 and ce_loss, where the data set has no labels at all."""
    macro_f1: float | None
    ce_loss: float | None
    """Mean cross-entropy with the labels, in nats."""
    agreement: float
    """Share of examples where this model's first choice is the teacher's."""
    kl_to_teacher: float
    """Mean KL(teacher || model) at temperature 1, in nats."""
    parameters: int
    bytes: int
    latency_ms: float
    """Milliseconds for one example alone."""
    examples_per_second: float
    """Throughput in batches of the job's batch size."""


class Interval(Part):
    """A 95 % interval from a paired bootstrap over the held-out examples."""

    low: float
    high: float


class Gain(Part):
    """What the teacher brought over labels alone: student after minus baseline."""

    accuracy: float
    accuracy_interval: Interval
    macro_f1: float
    agreement: float
    kl_to_teacher: float


class Cost(Part):
    """What it took, per stage in seconds, and what came out of it."""

    seconds: dict[str, float]
    steps: int
    device: str
    precision: Literal["fp32", "bf16"]


class Sizes(Part):
    teacher_parameters: int
    student_parameters: int
    trainable_parameters: int


class Examples(Part):
    train: int
    labelled: int
    validation: int
    test: int
    truncated: int
    """How many training texts the student reads cut at max_length."""


class ClassResult(Part):
    """One class on the held-out examples: its support and each model's F1."""

    label: str
    support: int
    f1: dict[str, float]


class StudentFacts(Part):
    """What the student is, for the list of models."""

    architecture: str
    """The transformers class, such as BertForSequenceClassification."""
    layers: int | None
    embedding_parameters: int


class Report(Part):
    task: Literal["text-classification"]
    held_out: Literal["test", "validation"]
    examples: Examples
    labels: list[str]
    student: StudentFacts
    teacher: Quality
    teachers: dict[str, Quality]
    """Each member of an ensemble; empty for a single teacher."""
    student_before: Quality
    student_after: Quality
    baseline: Quality | None
    gain: Gain | None
    classes: list[ClassResult]
    compression: float
    """Teacher parameters over student parameters."""
    speedup: float
    """Teacher latency over student latency."""
    cost: Cost
    verdict: str
    """The report in one sentence."""
