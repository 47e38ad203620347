"""The student's training: what it minimises and how it is measured on the way.

Legend: N validation examples, C classes.
"""

import copy

import numpy as np
import torch
from torch import nn

from worker.training.aim import Aim
from worker.training.desk import Desk
from worker.training.device import device
from worker.training.evaluation import cross_entropy, mean_kl
from worker.training.images.augment import jittered
from worker.training.lessons import Lessons
from worker.training.objectives.registry import HIDDEN, objective_of
from worker.training.phase import Phase, steps_of
from worker.training.pupil import Mapping, Pupil, mapping_of
from worker.training.readings import Readings
from worker.training.signal import Logits, log_probabilities
from worker.training.students import Student, with_lora
from worker.training.teaching import Classroom
from worker.training.trainer import Measure


def student_phase(
    desk: Desk, readings: Readings, classroom: Classroom, student: Student, signal: Logits | None
) -> Phase:
    """Return the phase in which the student learns from the teacher's signal and the labels.

    Without a teacher there is no signal, and the labelled examples alone are learned from.

    In an ensemble the hidden states are the first teacher's; where the two read other tokens, their means meet.
    """
    spec, hidden = desk.spec, desk.spec.logits_method.hidden
    teacher = classroom.teachers[0].model if hidden else None
    mapping = mapping_of(hidden, teacher, student.model) if hidden and teacher else None
    is_same_reading = not hidden or readings.teachers[0] is readings.student
    if hidden and not is_same_reading:
        desk.observer.event(
            "Teacher and student read different tokens: the means of their hidden states meet, not each token's."
        )
    # With alpha 0 no teacher looks along, and what it said of images as they are is not of shifted ones.
    is_heard = signal is not None and (spec.alpha > 0 or spec.training.augment is None)
    aim = Aim(
        alpha=spec.alpha,
        temperature=spec.T,
        objective=objective_of(spec.logits_method) if is_heard else None,
        hidden=HIDDEN[hidden.type] if hidden else None,
        hidden_weight=hidden.weight if hidden else 0.0,
        hidden_teacher=teacher.to(device()).eval() if teacher else None,  # type: ignore[arg-type]
        is_same_reading=is_same_reading,
    )
    train = readings.examples.parts.train if signal is not None else readings.examples.labelled_train
    return Phase(
        name="student",
        folder=desk.folder / "student",
        pupil=lambda: pupil_of(desk, readings, student, mapping),
        reader=student.reader,
        lessons=Lessons(train, readings.student, readings.codes, signal, readings.teachers[0] if hidden else None),
        aim=aim,
        settings=spec.training,
        steps=steps_of(spec.training, len(train)),
        precision=desk.precision,
        measure=measure_of(readings, aim, signal),
        early_stopping=spec.training.early_stopping,
        fill=jittered(desk, readings.student, (classroom, readings.teachers) if spec.alpha > 0 else None),
        crew=desk.crew,
    )


def pupil_of(desk: Desk, readings: Readings, student: Student, mapping: Mapping | None = None) -> Pupil:
    """Return a copy of the student as it is before it learns, with its adapters and projections."""
    lora, seed = desk.spec.student.lora, desk.spec.training.seed
    adapters = readings.medium.adapters
    model: nn.Module = with_lora(student.model, lora, seed, adapters) if lora else copy.deepcopy(student.model)
    return Pupil(model, mapping, seed)


def trainable_count(desk: Desk, readings: Readings, student: Student) -> int:
    """Return how many of the student's parameters learn; its projections are not the student's."""
    lora, adapters = desk.spec.student.lora, readings.medium.adapters
    model = with_lora(student.model, lora, desk.spec.training.seed, adapters) if lora else student.model
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)


def measure_of(readings: Readings, aim: Aim, signal: Logits | None) -> Measure | None:
    """Return what measures a model on the validation part, or None without one: loss, accuracy, agreement, KL."""
    rows = readings.examples.parts.validation
    codes = readings.codes[rows]
    if not len(rows) or (signal is None and not (codes >= 0).any()):
        return None

    def measure(model: nn.Module) -> dict[str, float]:
        logits_NC = readings.student_logits(model, rows)  # type: ignore[arg-type]
        labelled = codes >= 0
        found = {"loss": 0.0}
        if labelled.any():
            found["accuracy"] = float((logits_NC[labelled].argmax(axis=1) == codes[labelled]).mean())
            found["loss"] += (1 - aim.alpha) * cross_entropy(logits_NC[labelled], codes[labelled])
        if signal is not None:
            found |= _against_teacher(logits_NC, np.asarray(signal[rows]), aim)
            found["loss"] += aim.alpha * found.pop("kd_loss")
        return found

    return measure


def _against_teacher(logits_NC: Logits, teacher_NC: Logits, aim: Aim) -> dict[str, float]:
    """Return agreement, KL at the training's temperature (in nats, not scaled) and the objective per example."""
    found = {
        "agreement": float((logits_NC.argmax(axis=1) == teacher_NC.argmax(axis=1)).mean()),
        "kl": mean_kl(log_probabilities(teacher_NC, aim.temperature), log_probabilities(logits_NC, aim.temperature)),
        "kd_loss": 0.0,
    }
    if aim.objective is not None:
        own, theirs = torch.from_numpy(logits_NC), torch.from_numpy(teacher_NC)
        found["kd_loss"] = aim.objective(own, theirs, None, temperature=aim.temperature).item() / len(logits_NC)
    return found
