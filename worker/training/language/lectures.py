"""What the teachers say of a job's texts: read once and kept on disk, or read along at every step."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from torch import nn

from worker.training.desk import Desk
from worker.training.device import device
from worker.training.disk import free_bytes
from worker.training.language.models import vocabulary_of
from worker.training.language.paired import Paired
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
from worker.training.language.vocabulary import shared_vocabulary
from worker.training.models import Loaded
from worker.training.observer import stop_if_asked
from worker.training.phase import steps_of
from worker.training.split import Rows
from worker.training.teacher_cache import HEARD

VALIDATED = 64
"""Examples of the validation part that are measured each time; the report is about all that are held out."""
MOST_KEPT_BYTES = 16 * 2**30
SHARE_OF_DISK = 0.5


@dataclass(frozen=True)
class Lectures:
    """What the teachers say: `signal` for training, `validation` for measuring on the way."""

    voices: Voices
    signal: Signal
    validation: States | Paired | None
    """None where nothing is held out for validation."""


def voices_of(desk: Desk, teachers: Sequence[Loaded], student: nn.Module | None) -> Voices:
    """Return the teachers, ready to be read, over the ids that they share with the student, if there is one."""
    models = [teacher.model.to(device()).eval() for teacher in teachers]  # type: ignore[arg-type]
    shared = shared_vocabulary([vocabulary_of(model) for model in (*models, *([student] if student else []))])
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
        validation = _met(readings, _states(desk, readings, voices, validated, folder / "validation", pulse))
    if not is_kept:
        _plan_along(desk, len(readings.learned), len(validated))
        return Lectures(voices, _met(readings, Present(voices, readings.teachers)), validation)
    top_k, size = desk.spec.logits_method.top_k, kept_bytes(desk, readings, voices)
    what = f"the {top_k} likeliest words" if top_k else "last hidden states"
    desk.observer.event(f"The teacher reads once: {what} of {readings.teachers_tokens:,} tokens take {size:,} bytes.")
    if top_k is None:
        states = _states(desk, readings, voices, train_rows, folder / "train", pulse, heard=HEARD)
        return Lectures(voices, _met(readings, states), validation)
    kept = keep_likeliest(
        voices, readings.teachers, train_rows, folder / "train", pulse, top_k=top_k, temperature=desk.spec.T
    )
    return Lectures(voices, kept, validation)


ReadT = TypeVar("ReadT", Present, States)


def _met(readings: WritingReadings, read: ReadT) -> ReadT | Paired:
    """Return what the teachers say; of one with other tokens, where they begin with the student's."""
    return read if readings.mates is None else Paired(read.voices, read, readings.mates)


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
        seen = student.steps * settings.step_examples
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
        return likeliest_bytes(voices, top_k, readings.teachers_tokens)
    return states_bytes(voices, readings.teachers_tokens)


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
    seen = steps_of(settings, examples) * settings.step_examples
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
