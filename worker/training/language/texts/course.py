"""The phases of a student that learns from texts: what it reads, for how long, measured how."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import nn

from core.methods import LogitsMethod
from worker.training.desk import Desk, finetune_settings
from worker.training.language.aim import WritingAim
from worker.training.language.course import writing_pupil
from worker.training.language.evaluation import Yardstick, tallies
from worker.training.language.lectures import VALIDATED, voices_of
from worker.training.language.lessons import WritingLessons
from worker.training.language.models import vocabulary_of
from worker.training.language.pupil import WritingPupil
from worker.training.language.samples import spread
from worker.training.language.shelf import States, keep_states
from worker.training.language.signal import Voices
from worker.training.language.students import writer_with_lora
from worker.training.language.texts.heard import heard_likeliest
from worker.training.language.texts.measures import loss_tally
from worker.training.language.texts.readings import TextReadings
from worker.training.models import Loaded
from worker.training.objectives.registry import objective_of
from worker.training.observer import stop_if_asked
from worker.training.phase import Phase, Trained, steps_of, train
from worker.training.split import Rows
from worker.training.students import Student, required
from worker.training.trainer import Measure


@dataclass(frozen=True)
class Listening:
    """The teachers beside the texts: for measuring alone, since the texts are all that is learned."""

    voices: Voices
    validation: States | None
    """None where nothing is held out for validation."""


def listening(desk: Desk, readings: TextReadings, teachers: Sequence[Loaded], student: Student) -> Listening | None:
    """Return what the teachers say of the validation texts, read once; None where it cannot be compared."""
    if readings.why_incomparable is not None:
        return None
    voices = voices_of(desk, teachers, student.model)
    rows = spread(readings.parts.validation, VALIDATED)
    if not len(rows):
        return Listening(voices, None)
    done = 0

    def pulse(count: int) -> None:
        nonlocal done
        done += count
        desk.journey.move("reading", done / len(rows))
        stop_if_asked(desk.observer)

    return Listening(voices, keep_states(voices, readings.teachers, rows, desk.folder / "cache" / "heard", pulse))


def text_aim(desk: Desk, readings: TextReadings, student: Student) -> WritingAim:
    """Return what the student minimises: cross-entropy, and the distance to what a server told of its probabilities.

    Those are at temperature 1: nobody could soften them, knowing only some.
    """
    if not desk.spec.hears_likeliest:
        return WritingAim(desk.precision)
    told = heard_likeliest(desk, readings, vocabulary_of(student.model))
    return WritingAim(desk.precision, desk.spec.alpha, objective=objective_of(LogitsMethod()), signal=told)


def student_phase(desk: Desk, readings: TextReadings, student: Student, heard: Listening | None) -> Phase:
    """Return the phase in which the student is fine-tuned on the kept texts."""
    aim = text_aim(desk, readings, student)
    lessons = WritingLessons(readings.parts.train, readings.student, aim.signal)
    measure = measure_of(desk, readings, heard)
    steps = steps_of(desk.spec.training, len(lessons))
    return Phase(
        name="student",
        folder=desk.folder / "student",
        pupil=lambda: writing_pupil(desk, student),
        reader=student.tokenizer,
        lessons=lessons,
        aim=aim,
        settings=desk.spec.training,
        steps=steps,
        precision=desk.precision,
        measure=measure,
        early_stopping=desk.spec.training.early_stopping,
        crew=desk.crew,
    )


def baseline_phase(
    desk: Desk, lessons: WritingLessons, readings: TextReadings, student: Student, heard: Listening | None, steps: int
) -> Phase:
    """Return the phase in which a copy of the student learns from the data set's own completions.

    Start, seed, schedule, batch size and number of steps are the student's. It is measured on the same texts, and does
    not stop early by them: they are the teacher's.
    """
    return Phase(
        name="baseline",
        folder=desk.folder / "baseline",
        pupil=lambda: writing_pupil(desk, student),
        reader=student.tokenizer,
        lessons=lessons,
        aim=WritingAim(desk.precision),
        settings=desk.spec.training,
        steps=steps,
        precision=desk.precision,
        measure=measure_of(desk, readings, heard),
        crew=desk.crew,
    )


def measure_of(desk: Desk, readings: TextReadings, heard: Listening | None) -> Measure | None:
    """Return what measures a model on validation texts, or None without any: its loss, how near the teacher it is."""
    rows: Rows = spread(readings.parts.validation, VALIDATED)
    if not len(rows):
        return None

    def pulse(_: int) -> None:
        desk.journey.tell()

    def measure(model: nn.Module) -> dict[str, float]:
        if heard is None:
            tally = loss_tally(model, readings.student, rows, desk.precision, pulse)
        else:
            yardstick = Yardstick(heard.voices, heard.validation)  # type: ignore[arg-type] # there are rows
            tally = tallies({"model": model}, {"model": readings.student}, rows, yardstick, pulse)["model"]
        loss = tally.mean("loss")
        others = {name: tally.mean_or_none(name) for name in ("kl", "agreement")}
        return {"loss": loss, "ce": loss, **{name: value for name, value in others.items() if value is not None}}

    return measure


def finetuned(desk: Desk, teachers: Sequence[Loaded], lessons: Sequence[WritingLessons | None]) -> list[Loaded]:
    """Train the teachers that ask for it on the data set's own completions, each as a phase of its own."""
    return [
        loaded if lesson is None else _finetuned(desk, loaded, lesson, number)
        for number, (loaded, lesson) in enumerate(zip(teachers, lessons, strict=True))
    ]


def _finetuned(desk: Desk, loaded: Loaded, lessons: WritingLessons, number: int) -> Loaded:
    settings = finetune_settings(desk.spec, number)
    phase = Phase(
        name=f"teacher-{number}",
        folder=desk.folder / f"teacher-{number}",
        pupil=lambda: WritingPupil(writer_with_lora(loaded.model, None, settings.seed)),
        reader=required(loaded.tokenizer),
        lessons=lessons,
        aim=WritingAim(desk.precision),
        settings=settings,
        steps=steps_of(settings, len(lessons)),
        precision=desk.precision,
        crew=desk.crew,
    )
    trained: Trained = train(phase, desk.observer, desk.journey)
    return Loaded(trained.model, loaded.tokenizer, frozenset())
