"""A distillation from start to end: a spec and files in, a student and its report out."""

import copy
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn
from transformers import PreTrainedModel
from transformers.utils import logging as library_log

from core.report import Cost, Examples, Quality, Report, Sizes, StudentFacts
from core.spec import JobSpec
from worker.training import data, students
from worker.training.baseline import baseline_phase, why_no_baseline
from worker.training.desk import Desk
from worker.training.device import be_deterministic, device_name
from worker.training.evaluation import HeldOut, class_results, gain_of, quality
from worker.training.export import export
from worker.training.models import parameter_count
from worker.training.observer import Observer, stop_if_asked
from worker.training.phase import Trained, train
from worker.training.readings import Readings
from worker.training.signal import Logits, ensemble
from worker.training.speed import Speed, speed_of, together
from worker.training.student_phase import student_phase, trainable_count
from worker.training.students import Student
from worker.training.teaching import Classroom, gather
from worker.training.tuning import finetune
from worker.training.verdict import verdict

log = logging.getLogger("distil")


@dataclass(frozen=True)
class Inputs:
    spec: JobSpec
    folder: Path
    """The job's work folder: each phase keeps `<phase>/checkpoint-N` in it, those of earlier attempts included."""
    teachers: tuple[Path, ...]
    student: Path | None
    """None where the student is made from the teacher or a config."""
    dataset: Path
    provenance: dict[str, Any]


@dataclass(frozen=True)
class Outcome:
    report: Report
    student: Path
    """The folder with every artifact, complete with its manifest."""


def distil(inputs: Inputs, observer: Observer) -> Outcome:
    """Run the job, or go on with it where an earlier attempt stopped.

    Raises:
        JobFailed: what a user or operator can mend, in words.
        Stopped: the observer asked for it; a training phase has kept a checkpoint.
    """
    be_deterministic()
    library_log.disable_progress_bar()  # type: ignore[no-untyped-call]
    library_log.set_verbosity_error()  # type: ignore[no-untyped-call]
    desk = Desk(inputs.spec, inputs.folder, observer)

    desk.stage("loading")
    examples = data.read(inputs.dataset, desk.spec.dataset, desk.spec.training.seed)
    classroom = gather(desk.spec, inputs.teachers, examples)
    student = _student(desk, inputs, classroom)
    readings = Readings(desk, examples, classroom, student)
    readings.announce()
    _plan(desk, readings, classroom, student)

    desk.stage("teaching")
    classroom = finetune(desk, readings, classroom)
    if inputs.spec.student.from_teacher is not None:
        student = _student(desk, inputs, classroom)
    members = readings.teacher_logits(classroom)

    desk.stage("training")
    start = copy.deepcopy(student.model)
    signal = ensemble(members, desk.weights, desk.spec.T)
    trained = train(student_phase(desk, readings, classroom, student, signal), observer, desk.journey)
    baseline = _baseline(desk, readings, student, trained)

    desk.stage("evaluating")
    report = _evaluate(desk, readings, classroom, members, (start, trained, baseline))
    desk.journey.move("evaluating", 1.0)

    desk.stage("exporting")
    stop_if_asked(observer)
    curves = {"student": trained.history} | ({"baseline": baseline.history} if baseline else {})
    folder = export(desk, trained.model, student.tokenizer, report, curves, inputs.provenance)
    log.info("finished: %s", report.verdict)
    return Outcome(report, folder)


def _student(desk: Desk, inputs: Inputs, classroom: Classroom) -> Student:
    spec = desk.spec.student
    student = students.build(spec, inputs.student, classroom.teachers[0], classroom.classes, desk.spec.training.seed)
    students.mark_trainable(student, spec)
    return student


def _plan(desk: Desk, readings: Readings, classroom: Classroom, student: Student) -> None:
    """Tell sizes and lay out the way, so that progress has a total from the start."""
    desk.observer.sizes(
        Sizes(
            teacher_parameters=sum(parameter_count(teacher.model) for teacher in classroom.teachers),
            student_parameters=parameter_count(student.model),
            trainable_parameters=trainable_count(desk, student),
        )
    )
    desk.plan(
        readings.examples,
        [teacher.model for teacher in classroom.teachers],
        student.model,
        why_no_baseline(desk, readings),
    )


def _baseline(desk: Desk, readings: Readings, student: Student, trained: Trained) -> Trained | None:
    reason = why_no_baseline(desk, readings)
    if reason is not None:
        desk.observer.event(f"No student on labels alone is trained to compare with: {reason}.")
        return None
    return train(baseline_phase(desk, readings, student, trained.steps), desk.observer, desk.journey)


def _evaluate(
    desk: Desk,
    readings: Readings,
    classroom: Classroom,
    members: list[Logits],
    learned: tuple[PreTrainedModel, Trained, Trained | None],
) -> Report:
    start, trained, baseline = learned
    rows = readings.examples.parts.held_out
    teacher_logits = ensemble([member[rows] for member in members], desk.weights, 1.0)
    held_out = HeldOut(rows, readings.codes[rows], np.asarray(teacher_logits), classroom.classes)
    models = {"student_before": start, "student_after": trained.model} | (
        {"baseline": baseline.model} if baseline else {}
    )
    logits = {name: readings.student_logits(model, rows) for name, model in models.items()}
    measured = {name: _quality(desk, readings, held_out, model, logits[name]) for name, model in models.items()}
    teacher, each = _teacher_qualities(desk, readings, classroom, held_out, members)
    before, after, alone = measured["student_before"], measured["student_after"], measured.get("baseline")
    gain = (
        gain_of(logits["student_after"], logits["baseline"], held_out, (after, alone), desk.spec.training.seed)
        if alone is not None
        else None
    )
    parts = readings.examples.parts
    return Report(
        task="text-classification",
        held_out=parts.held_out_name,
        examples=Examples(
            train=len(parts.train),
            labelled=len(readings.examples.labelled_train),
            validation=len(parts.validation),
            test=len(parts.test),
            truncated=readings.cut_for_student,
        ),
        labels=classroom.classes,
        student=facts_of(trained.model),
        teacher=teacher,
        teachers=each,
        student_before=before,
        student_after=after,
        baseline=alone,
        gain=gain,
        classes=class_results({"teacher": held_out.teacher, **logits}, held_out),
        compression=teacher.parameters / after.parameters,
        speedup=teacher.latency_ms / after.latency_ms,
        cost=Cost(seconds=desk.seconds(), steps=trained.steps, device=device_name(), precision=desk.precision),
        verdict=verdict(teacher, after, alone, gain),
    )


def _quality(desk: Desk, readings: Readings, held_out: HeldOut, model: PreTrainedModel, logits: Logits) -> Quality:
    stop_if_asked(desk.observer)
    speed = speed_of(model, readings.student, held_out.rows, desk.spec.training.batch_size, desk.precision)
    return quality(logits, held_out, parameter_count(model), bytes_of(model), speed)


def _teacher_qualities(
    desk: Desk, readings: Readings, classroom: Classroom, held_out: HeldOut, members: list[Logits]
) -> tuple[Quality, dict[str, Quality]]:
    """Return the quality of the teachers as one, and of each where they are several."""
    speeds: list[Speed] = []
    for teacher, encoded in zip(classroom.teachers, readings.teachers, strict=True):
        stop_if_asked(desk.observer)
        speeds.append(speed_of(teacher.model, encoded, held_out.rows, desk.spec.training.batch_size, desk.precision))
    sizes = [(parameter_count(teacher.model), bytes_of(teacher.model)) for teacher in classroom.teachers]
    whole = quality(held_out.teacher, held_out, sum(p for p, _ in sizes), sum(b for _, b in sizes), together(speeds))
    if len(members) == 1:
        return whole, {}
    names = unique_names([teacher.model for teacher in desk.spec.teacher])
    each = {
        name: quality(np.asarray(member[held_out.rows]), held_out, parameters, bytes_, speed)
        for name, member, (parameters, bytes_), speed in zip(names, members, sizes, speeds, strict=True)
    }
    return whole, each


def unique_names(names: list[str]) -> list[str]:
    """Number the members of an ensemble that go by the same name."""
    return [f"{name} ({place + 1})" if names.count(name) > 1 else name for place, name in enumerate(names)]


def bytes_of(model: PreTrainedModel) -> int:
    """Return the bytes of a model's weights as safetensors keep them."""
    tensors: Mapping[int, Any] = {tensor.data_ptr(): tensor for tensor in model.state_dict().values()}
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())


def facts_of(model: PreTrainedModel) -> StudentFacts:
    """Return what the student is, for the list of models."""
    layers = getattr(model.config, "num_hidden_layers", None)
    return StudentFacts(
        architecture=type(model).__name__,
        layers=layers if isinstance(layers, int) else None,
        embedding_parameters=sum(part.weight.numel() for part in model.modules() if isinstance(part, nn.Embedding)),
    )
