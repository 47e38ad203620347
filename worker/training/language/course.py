"""The phases of a language model's distillation: what each minimises, from which signal, measured how."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from worker.training.desk import Desk, finetune_settings
from worker.training.device import device
from worker.training.disk import free_bytes
from worker.training.language.aim import WritingAim
from worker.training.language.evaluation import Yardstick, tallies
from worker.training.language.lessons import WritingLessons
from worker.training.language.models import vocabulary_of
from worker.training.language.pupil import WritingPupil
from worker.training.language.readings import WritingReadings
from worker.training.language.shelf import (
    Pulse,
    Shared,
    States,
    keep_likeliest,
    keep_states,
    likeliest_bytes,
    states_bytes,
)
from worker.training.language.signal import Present, Signal, Voices
from worker.training.language.students import writer_with_lora
from worker.training.language.vocabulary import shared_vocabulary
from worker.training.models import Loaded, parameter_count
from worker.training.objectives.registry import objective_of
from worker.training.observer import stop_if_asked
from worker.training.phase import Phase, steps_of, train
from worker.training.split import Rows
from worker.training.students import Student, required
from worker.training.teacher_cache import HEARD
from worker.training.trainer import Measure

VALIDATED = 64
"""Examples of the validation part that are measured each time; the report is about all that are held out."""
MOST_KEPT_BYTES = 16 * 2**30
SHARE_OF_DISK = 0.5


@dataclass(frozen=True)
class Lectures:
    """What the teachers say: `signal` for training, `validation` for measuring on the way."""

    voices: Voices
    signal: Signal
    validation: States | None
    """None where nothing is held out for validation."""


def voices_of(desk: Desk, teachers: Sequence[Loaded], student: nn.Module) -> Voices:
    """Return the teachers, ready to be read, over the ids that they share with the student."""
    models = [teacher.model.to(device()).eval() for teacher in teachers]  # type: ignore[arg-type]
    shared = shared_vocabulary([vocabulary_of(student), *(vocabulary_of(model) for model in models)])
    return Voices(models, desk.weights, shared, desk.precision)


def lectures(desk: Desk, readings: WritingReadings, voices: Voices) -> Lectures:
    """Let the teachers read what is kept of them on disk: where every text is seen more than once, all of it.

    The size is known and said beforehand. Where it is too large, the teachers read along at every step.
    """
    folder, train_rows = desk.folder / "cache", readings.parts.train
    validated = readings.rows_of(readings.parts.validation, VALIDATED)
    is_kept = desk.spec.method.type == "logits" and desk.spec.alpha > 0 and _reads_beforehand(desk, readings, voices)
    pulse = _pulse(desk, len(validated) + (len(train_rows) if is_kept else 0))
    validation = None
    if len(validated):
        validation = _states(desk, readings, voices, validated, folder / "validation", pulse)
    if not is_kept:
        _plan_along(desk, len(readings.learned), len(validated))
        return Lectures(voices, Present(voices, readings.teachers), validation)
    top_k, size = desk.spec.logits_method.top_k, kept_bytes(desk, readings, voices)
    what = f"the {top_k} likeliest words" if top_k else "last hidden states"
    desk.observer.event(f"The teacher reads once: {what} of {readings.kept_tokens:,} tokens take {size:,} bytes.")
    if top_k is None:
        states = _states(desk, readings, voices, train_rows, folder / "train", pulse, heard=HEARD)
        return Lectures(voices, states, validation)
    kept = keep_likeliest(
        voices, readings.teachers, train_rows, folder / "train", pulse, top_k=top_k, temperature=desk.spec.T
    )
    return Lectures(voices, kept, validation)


def _states(
    desk: Desk,
    readings: WritingReadings,
    voices: Voices,
    rows: Rows,
    folder: Path,
    pulse: Pulse,
    heard: str | None = None,
) -> States:
    """Let the teachers read these examples, unless another job of this machine has had them read or does so now.

    `heard` is told where that is so.
    """
    shared = _shared(desk, readings, rows)

    def wait() -> None:
        desk.journey.tell()
        stop_if_asked(desk.observer)

    with desk.cache.alone(shared.keys, wait) as beat:

        def pulse_and_beat(count: int) -> None:
            beat()
            pulse(count)

        if heard is not None and _are_kept(shared):
            desk.observer.event(heard)
        return keep_states(voices, readings.teachers, rows, folder, pulse_and_beat, shared)


def _plan_along(desk: Desk, examples: int, validated: int) -> None:
    """Count what the teachers read along to the student's leg, where it was thought to come before."""
    of_a_text = desk.journey.legs["reading"].work / examples
    desk.journey.plan("reading", of_a_text * validated)
    desk.journey.move("reading", 1.0)
    if desk.spec.method.type == "logits" and desk.spec.alpha > 0:
        settings, student = desk.spec.training, desk.journey.legs["student"]
        seen = student.steps * settings.batch_size * settings.gradient_accumulation
        desk.journey.plan("student", student.work + of_a_text * seen, student.steps)


def _shared(desk: Desk, readings: WritingReadings, rows: Rows) -> Shared:
    """Return where the states of these examples lie for other jobs; a teacher that was fine-tuned shares nothing."""
    keys = [
        None
        if wanted.finetune is not None
        else desk.cache.key(number, scripts, desk.precision, kind="states", rows=rows.tolist())
        for number, (wanted, scripts) in enumerate(zip(desk.spec.teacher_models, readings.teachers, strict=True))
    ]
    return Shared(desk.cache, keys)


def _are_kept(shared: Shared) -> bool:
    return all(key is not None and shared.cache.find(key) is not None for key in shared.keys)


def kept_bytes(desk: Desk, readings: WritingReadings, voices: Voices) -> int:
    """Return exactly how much of the teachers would be kept on disk."""
    top_k = desk.spec.logits_method.top_k
    if top_k:
        return likeliest_bytes(voices, top_k, readings.kept_tokens)
    return states_bytes(voices, readings.kept_tokens)


def _reads_beforehand(desk: Desk, readings: WritingReadings, voices: Voices) -> bool:
    """Tell whether the teachers read once and for all: where it pays, and where the disk has room."""
    if desk.spec.logits_method.top_k is None and _are_kept(_shared(desk, readings, readings.parts.train)):
        return True
    if not _is_read_often(desk, readings):
        desk.observer.event("Texts are seen about once, so the teacher reads each when it comes.")
        return False
    size, room = kept_bytes(desk, readings, voices), _room_bytes(desk)
    if size > room:
        hint = "" if desk.spec.logits_method.top_k else "; method.top_k takes less"
        desk.observer.event(
            f"What the teacher says would take {size:,} bytes on disk, and there is room for {room:,}: "
            f"it reads along at every step{hint}.",
            "warning",
        )
    return size <= room


def _is_read_often(desk: Desk, readings: WritingReadings) -> bool:
    settings, examples = desk.spec.training, len(readings.parts.train)
    seen = steps_of(settings, examples) * settings.batch_size * settings.gradient_accumulation
    is_awaited = desk.cache.is_awaited and all(one.finetune is None for one in desk.spec.teacher_models)
    return desk.spec.logits_method.top_k is not None or is_awaited or seen > 1.5 * examples


def _room_bytes(desk: Desk) -> int:
    return min(MOST_KEPT_BYTES, int(SHARE_OF_DISK * free_bytes(desk.folder)))


def _pulse(desk: Desk, total: int) -> Pulse:
    done = 0

    def pulse(count: int) -> None:
        nonlocal done
        done += count
        desk.journey.move("reading", done / total)
        stop_if_asked(desk.observer)

    return pulse


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
    )
    return _phase(desk, readings, student, "student", aim, lectures, steps_of(spec.training, len(readings.learned)))


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
        tokenizer=student.tokenizer,
        lessons=WritingLessons(readings.parts.train, readings.student, aim.signal),
        aim=aim,
        settings=spec.training,
        steps=steps,
        precision=desk.precision,
        measure=measure_of(desk, readings, aim, lectures),
        early_stopping=spec.training.early_stopping,
    )


def writing_pupil(desk: Desk, student: Student) -> WritingPupil:
    """Return a copy of the student as it is before it learns, with its adapters."""
    return WritingPupil(writer_with_lora(student.model, desk.spec.student.lora, desk.spec.training.seed))


def trainable_count(desk: Desk, student: Student) -> int:
    """Return how many of the student's parameters learn."""
    model = writing_pupil(desk, student) if desk.spec.student.lora is not None else student.model
    return parameter_count(model, trainable_only=True)


def measure_of(desk: Desk, readings: WritingReadings, aim: WritingAim, lectures: Lectures) -> Measure | None:
    """Return what measures a model on the validation part, or None without one: loss, KL, agreement."""
    rows = readings.rows_of(readings.parts.validation, VALIDATED)
    if lectures.validation is None:
        return None
    objective = aim.objective or objective_of(desk.spec.mixing)
    yardstick = Yardstick(lectures.voices, lectures.validation, desk.spec.T, objective)

    def measure(model: nn.Module) -> dict[str, float]:
        scripts = {"model": readings.student}
        found = tallies({"model": model}, scripts, rows, yardstick, lambda _: desk.journey.tell())["model"]
        return {
            "loss": aim.alpha * found.mean("kd_loss") + (1 - aim.alpha) * found.mean("loss"),
            "ce": found.mean("loss"),
            "kl": found.mean("kl"),
            "agreement": found.mean("agreement"),
        }

    return measure


def finetuned(desk: Desk, readings: WritingReadings, teachers: Sequence[Loaded]) -> list[Loaded]:
    """Train the teachers that ask for it on the completions, each as a phase of its own."""
    return [
        _finetuned(desk, readings, loaded, number) if desk.spec.teacher_models[number].finetune else loaded
        for number, loaded in enumerate(teachers)
    ]


def _finetuned(desk: Desk, readings: WritingReadings, loaded: Loaded, number: int) -> Loaded:
    settings, rows = finetune_settings(desk.spec, number), readings.parts.train
    phase = Phase(
        name=f"teacher-{number}",
        folder=desk.folder / f"teacher-{number}",
        pupil=lambda: WritingPupil(writer_with_lora(loaded.model, None, settings.seed)),
        tokenizer=required(loaded.tokenizer),
        lessons=WritingLessons(rows, readings.teachers[number]),
        aim=WritingAim(desk.precision),
        settings=settings,
        steps=steps_of(settings, len(rows)),
        precision=desk.precision,
    )
    return Loaded(train(phase, desk.observer, desk.journey).model, loaded.tokenizer, frozenset())
