"""The report: the proof that users pay for. Written by the trainer, served and drawn by everyone else."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter


class Part(BaseModel):
    # What a worker of a later version adds is left out by a service of this one, not refused.
    model_config = ConfigDict(extra="ignore", protected_namespaces=())


class Quality(Part):
    """One model on the held-out examples. Latency and throughput are medians on the worker's own device."""

    accuracy: float | None
    """None, like macro_f1 and ce_loss, where the data set has no labels at all."""
    macro_f1: float | None
    errors: int | None = None
    """How many labelled examples it gets wrong. Reports of earlier versions do not count them."""
    ce_loss: float | None
    """Mean cross-entropy with the labels, in nats."""
    agreement: float | None
    """Share of examples where this model's first choice is the teacher's; None, like the KL, where there is none."""
    kl_to_teacher: float | None
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
    fewer_errors: float | None = None
    """Share of the baseline's errors that the student does not make; below 0 where it makes more. None without any."""
    macro_f1: float
    agreement: float
    kl_to_teacher: float


class Cost(Part):
    """What it took, per stage in seconds, and what came out of it."""

    seconds: dict[str, float]
    steps: int
    device: str
    precision: Literal["fp32", "bf16"]
    processes: int = 1


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
    """How many training texts the student reads cut at max_length; 0 for images."""
    in_both: int | None = None
    """How many held-out examples are in the training part too, exactly as the student reads them; None in reports of
    earlier versions."""


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


class ClassificationReport(Part):
    task: Literal["text-classification", "image-classification"]
    held_out: Literal["test", "validation"]
    examples: Examples
    labels: list[str]
    student: StudentFacts
    teacher: Quality | None
    """None where the student learned from labels alone."""
    teachers: dict[str, Quality]
    """Each member of an ensemble; empty for a single teacher."""
    student_before: Quality
    student_after: Quality
    baseline: Quality | None
    gain: Gain | None
    classes: list[ClassResult]
    compression: float | None
    """Teacher parameters over student parameters."""
    speedup: float | None
    """Teacher latency over student latency."""
    cost: Cost
    verdict: str
    """The report in one sentence."""


class WritingQuality(Part):
    """One language model on the held-out completions, or on the teacher's texts for held-out prompts where the student
    learned from texts, or the data set has no completions. All numbers are per token of a completion."""

    loss: float
    """Mean cross-entropy with the completions' tokens, in nats."""
    perplexity: float
    """exp(loss)."""
    agreement: float | None
    """Share of tokens where this model's first choice is the teacher's; None where their tokens cannot be compared."""
    kl_to_teacher: float | None
    """Mean KL(teacher || model) at temperature 1, in nats; None like agreement."""
    uld_to_teacher: float | None = None
    """Mean distance of the sorted probabilities from the teacher's at temperature 1, between 0 and 2, over the tokens
    that begin where one of the teacher's does; None where tokens are the same, and for the teacher itself."""
    completions_loss: float | None = None
    """Where the student learned from texts: the loss on the data set's own held-out completions, if it has any."""
    pass_rate: float | None = None
    """Share of held-out prompts that it answers rightly, always taking the likeliest token; None without a verifier."""
    distinct_2: float | None
    """Different pairs of neighbouring tokens over all pairs, in the samples; None where they are too short."""
    parameters: int
    bytes: int
    tokens_per_second: float
    """Tokens written one after the other at batch 1, always the likeliest."""


class WritingGain(Part):
    """What the teacher brought over the data set's own completions: student after minus baseline; lower is better
    for loss and KL."""

    loss: float
    loss_interval: Interval
    kl_to_teacher: float | None
    """None, like the two below, where their tokens cannot be compared."""
    kl_interval: Interval | None
    agreement: float | None


class WritingExamples(Part):
    train: int
    validation: int
    test: int
    kept_tokens: int
    """Tokens of all training completions: what one epoch learns from."""
    truncated: int
    """How many training examples are cut at max_length."""
    dropped: int
    """How many examples have no completion left within max_length, and are left out."""
    in_both: int | None = None
    """How many held-out texts, or where the student or the teacher writes, prompts, are in the training part too,
    exactly as the student reads them; None in reports of earlier versions."""


class Sample(Part):
    """What each model writes after the prompt of a held-out example, always taking the likeliest token."""

    prompt: str
    reference: str | None
    """The data set's own completion, if it has one."""
    teacher: str
    student_before: str
    student_after: str


class Spent(Part):
    """What a teacher behind an endpoint was asked, over all attempts of the job."""

    requests: int
    prompt_tokens: int
    completion_tokens: int
    unknown_tokens: int
    """Of both, what was assumed: the most that a request can have used whose answer never came, or told nothing."""
    cost: float | None
    """In the currency of the budget's prices; None without prices."""


class WrittenTexts(Part):
    """What the teachers wrote for a student that learns from texts, and what became of it."""

    prompts: int
    samples: int
    kept: int
    dropped: dict[str, int]
    """How many were dropped, by the first reason against each."""
    tokens: int
    kept_tokens: int
    tokens_per_second: float | None
    """While they were written; None where an earlier attempt had written everything."""
    engines: dict[str, str] = {}
    """What computed each teacher's texts, with its version where results may depend on it; none behind an endpoint."""
    kept_of: dict[str, int]
    """How many are kept of each teacher, where several wrote."""
    verified: int
    """How many held-out prompts are behind pass_rate."""
    no_baseline: str | None
    """Why there is no student of the data set's own completions to compare with."""
    incomparable: str | None
    """Why there is no KL to the teacher."""
    spent: Spent | None = None
    """For a teacher behind an endpoint."""


class Alignment(Part):
    """How a student met the logits of a teacher with other tokens (method.alignment)."""

    aligned_tokens: int
    """How many of examples.kept_tokens begin where one of the teacher's does, and learn from it."""
    incomparable: str
    """Why there is no KL to the teacher, and no agreement."""


class GenerationReport(Part):
    task: Literal["text-generation"]
    held_out: Literal["test", "validation"]
    examples: WritingExamples
    student: StudentFacts
    teacher: WritingQuality | None
    """None for a teacher whose weights are not here."""
    teachers: dict[str, WritingQuality]
    """Each member of an ensemble; empty for a single teacher."""
    student_before: WritingQuality
    student_after: WritingQuality
    baseline: WritingQuality | None
    gain: WritingGain | None
    texts: WrittenTexts | None = None
    """For a student that learned from its teachers' texts."""
    alignment: Alignment | None = None
    """For a student that learned from the logits of a teacher with other tokens."""
    samples: list[Sample]
    compression: float | None
    """Teacher parameters over student parameters."""
    speedup: float | None
    """Student tokens per second over the teacher's; None where their tokens are others, or the teacher is not here."""
    cost: Cost
    verdict: str
    """The report in one sentence."""


Report = Annotated[ClassificationReport | GenerationReport, Field(discriminator="task")]
REPORT: TypeAdapter[ClassificationReport | GenerationReport] = TypeAdapter(Report)
"""Reads and writes a report of any task."""
