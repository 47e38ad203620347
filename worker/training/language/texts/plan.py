"""How far a job by texts is: its legs with their work."""

from collections.abc import Sequence

from core.report import Sizes
from worker.training.desk import Desk, finetune_settings, weight_of
from worker.training.generation.samples import Prompt
from worker.training.journey import READ_COST, TRAIN_COST
from worker.training.language.course import trainable_count
from worker.training.language.lectures import VALIDATED
from worker.training.models import Loaded, parameter_count
from worker.training.phase import steps_of
from worker.training.students import Student

WRITE_COST = 4.0
"""Writing a text token by token takes about four times as long as reading it at once, in batches."""
MEASURING = 6.0
"""Readings of the held-out texts that the report takes, samples and answers included."""


def tell_sizes(desk: Desk, teachers: Sequence[Loaded], student: Student) -> None:
    desk.observer.sizes(
        Sizes(
            teacher_parameters=sum(parameter_count(teacher.model) for teacher in teachers),
            student_parameters=parameter_count(student.model),
            trainable_parameters=trainable_count(desk, student),
        )
    )


def plan_legs(
    desk: Desk, teachers: Sequence[Loaded], student: Student, prompts: Sequence[Prompt], own: int, *, baseline: bool
) -> None:
    """Lay out the legs, as if every text were kept. `own`: how many examples have a completion to fine-tune on."""
    spec = desk.spec
    samples = spec.sequence_method.generation.samples_per_prompt
    every_teacher = sum(weight_of(teacher.model) for teacher in teachers)
    for number, teacher in enumerate(teachers):
        if spec.teacher_models[number].finetune is not None:
            steps = steps_of(finetune_settings(spec, number), own)
            work = TRAIN_COST * weight_of(teacher.model) * steps * spec.training.step_examples
            desk.journey.plan(f"teacher-{number}", work, steps)
    one_teacher = every_teacher / max(1, len(teachers)) or weight_of(student.model)
    desk.journey.plan("writing", WRITE_COST * one_teacher * len(prompts) * samples)
    desk.journey.plan("reading", READ_COST * every_teacher * VALIDATED)
    plan_trainings(desk, student, sum(prompt.part == "train" for prompt in prompts) * samples, baseline=baseline)
    held_out = sum(prompt.part != "train" for prompt in prompts)
    measured = every_teacher + 3 * weight_of(student.model)
    desk.journey.plan("evaluating", MEASURING * READ_COST * measured * held_out)


def plan_trainings(desk: Desk, student: Student, texts: int, *, baseline: bool) -> None:
    """Lay out the student's and the baseline's training on so many texts."""
    settings = desk.spec.training
    steps = steps_of(settings, texts)
    work = TRAIN_COST * weight_of(student.model) * steps * settings.step_examples
    desk.journey.plan("student", work, steps)
    if baseline:
        desk.journey.plan("baseline", work, steps)
