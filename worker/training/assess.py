"""The report: every model of the job measured on the same held-out examples."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import nn
from transformers import PreTrainedModel

from core.report import ClassificationReport, Examples, Quality, StudentFacts
from worker.training.desk import Desk
from worker.training.evaluation import HeldOut, class_results, gain_of, quality
from worker.training.models import parameter_count
from worker.training.observer import stop_if_asked
from worker.training.phase import Trained
from worker.training.readings import Readings
from worker.training.signal import Logits, ensemble
from worker.training.speed import Speed, speed_of, together
from worker.training.teaching import Classroom
from worker.training.verdict import verdict


def assess(
    desk: Desk,
    readings: Readings,
    classroom: Classroom,
    members: list[Logits],
    learned: tuple[PreTrainedModel, Trained, Trained | None],
) -> ClassificationReport:
    """Measure teacher, student before and after, and baseline on the same held-out examples."""
    start, trained, baseline = learned
    rows = readings.examples.parts.held_out
    said = np.asarray(ensemble([member[rows] for member in members], desk.weights, 1.0)) if members else None
    held_out = HeldOut(rows, readings.codes[rows], said, classroom.classes)
    models = {"student_before": start, "student_after": trained.model} | (
        {"baseline": baseline.model} if baseline else {}
    )
    logits = {name: readings.student_logits(model, rows) for name, model in models.items()}
    # Whichever is measured first comes out twice as slow as it is, so that one measurement goes before and is dropped.
    _speed(desk, readings, held_out, start)
    measured = {name: _quality(desk, readings, held_out, model, logits[name]) for name, model in models.items()}
    teacher, each = _teacher_qualities(desk, readings, classroom, held_out, members) if members else (None, {})
    before, after, alone = measured["student_before"], measured["student_after"], measured.get("baseline")
    gain = (
        gain_of(logits["student_after"], logits["baseline"], held_out, (after, alone), desk.spec.training.seed)
        if alone is not None
        else None
    )
    parts = readings.examples.parts
    return ClassificationReport(
        task="image-classification" if readings.medium.content == "image" else "text-classification",
        held_out=parts.held_out_name,
        examples=Examples(
            train=len(parts.train if members else readings.examples.labelled_train),
            labelled=len(readings.examples.labelled_train),
            validation=len(parts.validation),
            test=len(parts.test),
            truncated=readings.cut_for_student,
            in_both=readings.in_both,
        ),
        labels=classroom.classes,
        student=facts_of(trained.model),
        teacher=teacher,
        teachers=each,
        student_before=before,
        student_after=after,
        baseline=alone,
        gain=gain,
        classes=class_results(({"teacher": said} if said is not None else {}) | logits, held_out),
        compression=teacher.parameters / after.parameters if teacher else None,
        speedup=teacher.latency_ms / after.latency_ms if teacher else None,
        cost=desk.cost(trained.steps),
        verdict=verdict(teacher, after, alone, gain, readings.medium.content),
    )


def _quality(desk: Desk, readings: Readings, held_out: HeldOut, model: PreTrainedModel, logits: Logits) -> Quality:
    stop_if_asked(desk.observer)
    speed = _speed(desk, readings, held_out, model)
    return quality(logits, held_out, parameter_count(model), bytes_of(model), speed)


def _speed(desk: Desk, readings: Readings, held_out: HeldOut, model: PreTrainedModel) -> Speed:
    return speed_of(model, readings.student, held_out.rows, desk.spec.training.batch_examples, desk.precision)


def _teacher_qualities(
    desk: Desk, readings: Readings, classroom: Classroom, held_out: HeldOut, members: list[Logits]
) -> tuple[Quality, dict[str, Quality]]:
    """Return the quality of the teachers as one, and of each where they are several."""
    speeds: list[Speed] = []
    for teacher, reading in zip(classroom.teachers, readings.teachers, strict=True):
        stop_if_asked(desk.observer)
        speeds.append(
            speed_of(teacher.model, reading, held_out.rows, desk.spec.training.batch_examples, desk.precision)
        )
    sizes = [(parameter_count(teacher.model), bytes_of(teacher.model)) for teacher in classroom.teachers]
    assert held_out.teacher is not None
    whole = quality(held_out.teacher, held_out, sum(p for p, _ in sizes), sum(b for _, b in sizes), together(speeds))
    if len(members) == 1:
        return whole, {}
    names = unique_names([teacher.model for teacher in desk.spec.teacher_models])
    each = {
        name: quality(np.asarray(member[held_out.rows]), held_out, parameters, bytes_, speed)
        for name, member, (parameters, bytes_), speed in zip(names, members, sizes, speeds, strict=True)
    }
    return whole, each


def unique_names(names: list[str]) -> list[str]:
    """Number the members of an ensemble that go by the same name."""
    return [f"{name} ({place + 1})" if names.count(name) > 1 else name for place, name in enumerate(names)]


def bytes_of(model: PreTrainedModel) -> int:
    """Return the bytes of a model's weights as a student's file holds them, in float32, whatever memory holds."""
    tensors: Mapping[int, Any] = {tensor.data_ptr(): tensor for tensor in model.state_dict().values()}
    full = torch.float32.itemsize
    return sum(one.numel() * (full if one.is_floating_point() else one.element_size()) for one in tensors.values())


def facts_of(model: PreTrainedModel) -> StudentFacts:
    """Return what the student is, for the list of models."""
    layers = getattr(model.config, "num_hidden_layers", None)
    return StudentFacts(
        architecture=type(model).__name__,
        layers=layers if isinstance(layers, int) else None,
        embedding_parameters=sum(part.weight.numel() for part in model.modules() if isinstance(part, nn.Embedding)),
    )
