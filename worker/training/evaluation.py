"""How good a model is on held-out examples, against the labels and against the teacher.

Legend: N held-out examples, C classes.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import f1_score

from core.report import ClassResult, Gain, Interval, Quality
from worker.training.signal import Logits, log_probabilities
from worker.training.speed import Speed
from worker.training.split import Rows

RESAMPLES = 2000


@dataclass(frozen=True)
class HeldOut:
    """The examples that are measured on; `codes` is negative where an example has no label."""

    rows: Rows
    codes: Rows
    teacher: Logits | None
    """The teacher's logits at temperature 1 for just these examples; None where nobody teaches."""
    classes: list[str]

    @property
    def is_labelled(self) -> NDArray[np.bool_]:
        return self.codes >= 0


def quality(logits_NC: Logits, held_out: HeldOut, parameters: int, bytes_: int, speed: Speed) -> Quality:
    """Measure one model from its logits on the held-out examples."""
    labelled, teacher = held_out.is_labelled, held_out.teacher
    truth, chosen = held_out.codes[labelled], logits_NC[labelled].argmax(axis=1)
    has_labels = bool(labelled.any())
    return Quality(
        accuracy=float((chosen == truth).mean()) if has_labels else None,
        macro_f1=macro_f1(truth, chosen) if has_labels else None,
        errors=int((chosen != truth).sum()) if has_labels else None,
        ce_loss=cross_entropy(logits_NC[labelled], truth) if has_labels else None,
        agreement=None if teacher is None else float((logits_NC.argmax(axis=1) == teacher.argmax(axis=1)).mean()),
        kl_to_teacher=None if teacher is None else mean_kl(log_probabilities(teacher), log_probabilities(logits_NC)),
        parameters=parameters,
        bytes=bytes_,
        latency_ms=speed.latency_ms,
        examples_per_second=speed.examples_per_second,
    )


def macro_f1(truth: Rows, chosen: Rows) -> float:
    """Return the mean F1 of the classes that occur among labels or choices."""
    return float(f1_score(truth, chosen, average="macro", zero_division=0))


def cross_entropy(logits_NC: Logits, codes: Rows) -> float:
    """Return the mean cross-entropy with the labels, in nats."""
    log_q_NC = log_probabilities(logits_NC)
    return float(-log_q_NC[np.arange(len(codes)), codes].mean())


def mean_kl(log_p_NC: NDArray[np.float64], log_q_NC: NDArray[np.float64]) -> float:
    """Return the mean KL(p || q), in nats; never below zero by rounding."""
    return max(0.0, float((np.exp(log_p_NC) * (log_p_NC - log_q_NC)).sum(axis=1).mean()))


def gain_of(
    after: Logits, baseline: Logits, held_out: HeldOut, qualities: tuple[Quality, Quality], seed: int
) -> Gain | None:
    """Return what the teacher brought over labels alone, or None where there are no labels to measure it with."""
    of_student, of_baseline = qualities
    if of_student.accuracy is None or of_baseline.accuracy is None:
        return None
    if of_student.agreement is None or of_baseline.agreement is None:
        raise ValueError("without a teacher there is no gain")
    labelled = held_out.is_labelled
    truth = held_out.codes[labelled]
    right = (after[labelled].argmax(axis=1) == truth).astype(np.float64)
    right_baseline = (baseline[labelled].argmax(axis=1) == truth).astype(np.float64)
    errors = float((1 - right_baseline).sum())
    return Gain(
        fewer_errors=1 - float((1 - right).sum()) / errors if errors else None,
        accuracy=of_student.accuracy - of_baseline.accuracy,
        accuracy_interval=bootstrap_interval(right - right_baseline, seed),
        macro_f1=(of_student.macro_f1 or 0.0) - (of_baseline.macro_f1 or 0.0),
        agreement=of_student.agreement - of_baseline.agreement,
        kl_to_teacher=(of_student.kl_to_teacher or 0.0) - (of_baseline.kl_to_teacher or 0.0),
    )


def bootstrap_interval(differences_N: NDArray[np.float64], seed: int) -> Interval:
    """Return the 95 % percentile interval of the mean of paired differences (Efron 1979), over 2,000 resamples."""
    draw = np.random.default_rng([seed, 2])
    means = [differences_N[draw.integers(0, len(differences_N), len(differences_N))].mean() for _ in range(RESAMPLES)]
    low, high = np.quantile(means, [0.025, 0.975])
    return Interval(low=float(low), high=float(high))


def class_results(models: dict[str, Logits], held_out: HeldOut) -> list[ClassResult]:
    """Return each class with its support and every model's F1 on it; nothing where there are no labels."""
    labelled = held_out.is_labelled
    if not labelled.any():
        return []
    truth, places = held_out.codes[labelled], list(range(len(held_out.classes)))
    scores = {
        name: f1_score(truth, logits_NC[labelled].argmax(axis=1), labels=places, average=None, zero_division=0)
        for name, logits_NC in models.items()
    }
    return [
        ClassResult(
            label=label,
            support=int((truth == place).sum()),
            f1={name: float(score[place]) for name, score in scores.items()},
        )
        for place, label in enumerate(held_out.classes)
    ]
