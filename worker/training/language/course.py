"""The phases of a language model's distillation: what each minimises, from which signal, measured how."""

from collections.abc import Sequence

from torch import nn

from worker.training.desk import Desk, finetune_settings
from worker.training.language.aim import WritingAim
from worker.training.language.chunked import rows_at_once
from worker.training.language.evaluation import Measuring, Yardstick, tallies
from worker.training.language.lectures import VALIDATED, Lectures
from worker.training.language.lessons import WritingLessons
from worker.training.language.models import vocabulary_of
from worker.training.language.paired import Paired, PairedYardstick, distance
from worker.training.language.pupil import WritingPupil
from worker.training.language.readings import WritingReadings
from worker.training.language.students import writer_with_lora
from worker.training.models import Loaded, parameter_count
from worker.training.objectives.registry import objective_of
from worker.training.phase import Phase, steps_of, train
from worker.training.students import Student, required
from worker.training.trainer import Measure


def student_phase(desk: Desk, readings: WritingReadings, student: Student, lectures: Lectures) -> Phase:
    """Return the phase in which the student learns from the teachers' signal and the completions."""
    spec = desk.spec
    is_taught = spec.alpha > 0
    aim = WritingAim(
        precision=desk.precision,
        alpha=spec.alpha,
        temperature=spec.T,
        objective=objective_of(spec.mixing) if is_taught else None,
        signal=lectures.signal if is_taught else None,
        chunk_rows=rows_at_once(widest(student, lectures)),
    )
    return _phase(desk, readings, student, "student", aim, lectures, steps_of(spec.training, len(readings.learned)))


def widest(student: Student, lectures: Lectures) -> int:
    """Return the larger vocabulary: a chunk has rows of both."""
    return max(vocabulary_of(student.model), lectures.voices.vocabulary)


def baseline_phase(desk: Desk, readings: WritingReadings, student: Student, lectures: Lectures, steps: int) -> Phase:
    """Return the phase in which a copy of the student learns from the data set's completions alone.

    Start, seed, order, schedule, batch size and number of steps are the student's.
    """
    return _phase(desk, readings, student, "baseline", WritingAim(desk.precision), lectures, steps)


def why_no_baseline(desk: Desk, readings: WritingReadings) -> str | None:
    """Return why there is no baseline, or None where there is one."""
    if not desk.spec.evaluation.baseline:
        return "evaluation.baseline is false"
    if desk.spec.alpha == 0:
        return "with alpha 0 the student itself learns from the completions alone"
    if not len(readings.parts.train):
        return "no training example has a completion"
    return None


def _phase(
    desk: Desk,
    readings: WritingReadings,
    student: Student,
    name: str,
    aim: WritingAim,
    lectures: Lectures,
    steps: int,
) -> Phase:
    spec = desk.spec
    return Phase(
        name=name,
        folder=desk.folder / name,
        pupil=lambda: writing_pupil(desk, student),
        reader=student.tokenizer,
        lessons=WritingLessons(readings.parts.train, readings.student, aim.signal),
        aim=aim,
        settings=spec.training,
        steps=steps,
        precision=desk.precision,
        measure=measure_of(desk, readings, student, aim, lectures),
        early_stopping=spec.training.early_stopping,
        crew=desk.crew,
    )


def writing_pupil(desk: Desk, student: Student) -> WritingPupil:
    """Return a copy of the student as it is before it learns, with its adapters."""
    return WritingPupil(writer_with_lora(student.model, desk.spec.student.lora, desk.spec.training.seed))


def trainable_count(desk: Desk, student: Student) -> int:
    """Return how many of the student's parameters learn."""
    model = writing_pupil(desk, student) if desk.spec.student.lora is not None else student.model
    return parameter_count(model, trainable_only=True)


def measure_of(
    desk: Desk, readings: WritingReadings, student: Student, aim: WritingAim, lectures: Lectures
) -> Measure | None:
    """Return what measures a model on the validation part, or None without one: loss, KL, agreement.

    Where the teacher's tokens are others there are no such two, and the distance of sorted probabilities is measured.
    """
    rows, heard = readings.rows_of(readings.parts.validation, VALIDATED), lectures.validation
    if heard is None:
        return None
    yardstick: Measuring
    if isinstance(heard, Paired):
        yardstick = PairedYardstick(heard, widest(student, lectures), desk.spec.T)
    else:
        yardstick = Yardstick(lectures.voices, heard, desk.spec.T, aim.objective or objective_of(desk.spec.mixing))

    def measure(model: nn.Module) -> dict[str, float]:
        scripts = {"model": readings.student}
        found = tallies({"model": model}, scripts, rows, yardstick, lambda _: desk.journey.tell())["model"]
        near = {"kl": found.mean_or_none("kl"), "agreement": found.mean_or_none("agreement"), "uld": distance(found)}
        return {
            "loss": aim.alpha * found.mean("kd_loss") + (1 - aim.alpha) * found.mean("loss"),
            "ce": found.mean("loss"),
            **{name: value for name, value in near.items() if value is not None},
        }

    return measure


def finetuned(desk: Desk, readings: WritingReadings, teachers: Sequence[Loaded]) -> list[Loaded]:
    """Train the teachers that ask for it on the completions, each as a phase of its own."""
    return [
        _finetuned(desk, readings, loaded, number) if desk.spec.teacher_models[number].finetune else loaded
        for number, loaded in enumerate(teachers)
    ]


def _finetuned(desk: Desk, readings: WritingReadings, loaded: Loaded, number: int) -> Loaded:
    settings, scripts = finetune_settings(desk.spec, number), readings.teachers[number]
    rows = readings.parts.train[scripts.kept(readings.parts.train) > 0]
    phase = Phase(
        name=f"teacher-{number}",
        folder=desk.folder / f"teacher-{number}",
        pupil=lambda: WritingPupil(writer_with_lora(loaded.model, None, settings.seed)),
        reader=required(loaded.tokenizer),
        lessons=WritingLessons(rows, scripts),
        aim=WritingAim(desk.precision),
        settings=settings,
        steps=steps_of(settings, len(rows)),
        precision=desk.precision,
        crew=desk.crew,
    )
    return Loaded(train(phase, desk.observer, desk.journey).model, loaded.tokenizer, frozenset())
