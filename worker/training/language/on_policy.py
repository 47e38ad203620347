"""The student learns on its own texts: GKD (Agarwal et al. 2024, arXiv:2306.13649)."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from transformers import PreTrainedModel

from worker.training.desk import Desk, weight_of
from worker.training.journey import READ_COST
from worker.training.language.asking import AskingReadings
from worker.training.language.own_texts import Author, FreshLessons
from worker.training.models import Loaded
from worker.training.observer import stop_if_asked
from worker.training.phase import POINTS_IN_A_CURVE, Phase
from worker.training.pupil import Pupil
from worker.training.trainer import Fill

WRITE_COST = 3.0
"""Reading a token alone, weights and all, costs several times what it costs in a batch of long texts."""


def with_own_texts(phase: Phase, desk: Desk, readings: AskingReadings) -> Phase:
    """Return the phase with the student's own texts in the place of a share of the data set's."""
    method = desk.spec.method
    assert method.type == "on_policy"
    seed = desk.spec.training.seed if method.generation.seed is None else method.generation.seed

    def each_token() -> None:
        stop_if_asked(desk.observer)
        desk.journey.tell()

    author = Author(method, seed, phase.tokenizer, desk.precision, each_token)
    lessons = FreshLessons(readings, author)
    return replace(phase, lessons=lessons, fill=_measured(lessons, desk, phase.steps))


def _measured(lessons: FreshLessons, desk: Desk, steps: int) -> Fill:
    """Return what fills a step, and says how the writing goes as often as losses are said."""
    every = -(-steps // POINTS_IN_A_CURVE)

    def fill(pupil: Pupil, batches: Sequence[Mapping[str, Any]], step: int) -> list[Any]:
        filled = lessons.fill(pupil, batches, step)
        if (step + 1) % every == 0:
            measured = lessons.author.meter.read()
            if measured:
                desk.observer.metrics(step + 1, measured)
        return filled

    return fill


def own_work(desk: Desk, teachers: Sequence[Loaded], student: PreTrainedModel, steps: int) -> float:
    """Return the work of writing, and of the teachers that read along, in parameter-examples; 0 for other methods."""
    if desk.spec.method.type != "on_policy":
        return 0.0
    settings = desk.spec.training
    examples = steps * settings.batch_size * settings.gradient_accumulation
    writing = WRITE_COST * desk.spec.method.student_share * weight_of(student)
    return examples * (writing + READ_COST * sum(weight_of(teacher.model) for teacher in teachers))
