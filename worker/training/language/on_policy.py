"""The student learns on its own texts: GKD (Agarwal et al. 2024, arXiv:2306.13649)."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from transformers import PreTrainedModel

from core.errors import DatasetUnusable
from core.methods import OnPolicyMethod
from worker.training.desk import Desk, weight_of
from worker.training.journey import READ_COST
from worker.training.language.answers import answered, holds_completions
from worker.training.language.asking import AskingReadings
from worker.training.language.data import Writings
from worker.training.language.own_texts import Author, FreshLessons
from worker.training.language.twin import Twin
from worker.training.models import Loaded
from worker.training.observer import stop_if_asked
from worker.training.phase import POINTS_IN_A_CURVE, Phase
from worker.training.pupil import Pupil
from worker.training.students import Student
from worker.training.trainer import Fill

NO_COMPLETIONS = (
    "no example has a completion: set method.student_share and alpha to 1, to learn from the student's own texts alone"
)

WRITE_COST = 3.0
"""Reading a token alone, weights and all, costs several times what it costs in a batch of long texts."""


def asking_readings(desk: Desk, writings: Writings, teachers: Sequence[Loaded], student: Student) -> AskingReadings:
    """Return the data set as it is learned from and asked; where it has no completions, the first teacher answers
    what is measured with.

    Raises:
        DatasetUnusable: nothing can be learned or measured.
    """
    method = method_of(desk)
    if not holds_completions(writings):
        if method.student_share < 1:
            raise DatasetUnusable(NO_COMPLETIONS)
        desk.stage("teaching")
        writings = answered(desk, writings, teachers[0], method.generation, seed_of(desk))
    readings = AskingReadings(desk, writings, teachers, student, method)
    if not len(readings.parts.train) and any(teacher.finetune is not None for teacher in desk.spec.teacher_models):
        raise DatasetUnusable("a teacher cannot be fine-tuned: no training example has a completion")
    return readings


def method_of(desk: Desk) -> OnPolicyMethod:
    assert desk.spec.method.type == "on_policy"
    return desk.spec.method


def seed_of(desk: Desk) -> int:
    """Return what texts are drawn from."""
    wanted = method_of(desk).generation.seed
    return desk.spec.training.seed if wanted is None else wanted


def with_own_texts(phase: Phase, desk: Desk, readings: AskingReadings) -> Phase:
    """Return the phase with the student's own texts in the place of a share of the data set's."""

    def each_token() -> None:
        stop_if_asked(desk.observer)
        desk.journey.tell()

    author = Author(method_of(desk), seed_of(desk), phase.tokenizer, Twin(desk.precision), each_token)
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
    examples = steps * settings.step_examples
    writing = WRITE_COST * desk.spec.method.student_share * weight_of(student)
    return examples * (writing + READ_COST * sum(weight_of(teacher.model) for teacher in teachers))
