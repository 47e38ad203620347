"""A distillation from start to end: a spec and files in, a student and its report out."""

import copy
import logging

from safetensors import SafetensorError
from transformers.utils import logging as library_log

from core.errors import DiskFull
from core.report import Sizes
from worker.training import data
from worker.training.assess import assess
from worker.training.baseline import baseline_phase, why_no_baseline
from worker.training.card import model_card
from worker.training.crew import Crew, crew_of
from worker.training.data import Examples
from worker.training.desk import Desk
from worker.training.device import be_deterministic
from worker.training.disk import free_bytes, is_disk_full
from worker.training.exchange import Inputs, Outcome
from worker.training.export import Pages, export, finetuned_of
from worker.training.images.medium import Images
from worker.training.language.distil import distil_writer
from worker.training.medium import Medium
from worker.training.models import parameter_count
from worker.training.observer import Observer, stop_if_asked
from worker.training.page import report_page
from worker.training.phase import Trained, train
from worker.training.readings import Readings
from worker.training.signal import ensemble
from worker.training.student_phase import student_phase, trainable_count
from worker.training.students import Student, mark_trainable
from worker.training.teacher_cache import TeacherCache
from worker.training.teaching import Classroom, gather
from worker.training.texts import Texts
from worker.training.tuning import finetune

__all__ = ["Inputs", "Outcome", "distil"]

log = logging.getLogger("distil")


def distil(inputs: Inputs, observer: Observer) -> Outcome:
    """Run the job, or go on with it where an earlier attempt stopped.

    Raises:
        JobFailed: what a user or operator can mend, in words.
        Stopped: the observer asked for it; a training phase has kept a checkpoint.
    """
    try:
        _prepare()
        distil_task = distil_writer if inputs.spec.task == "text-generation" else distil_classifier
        with crew_of(inputs.spec.resources, inputs.folder / "crew") as crew:
            return distil_task(inputs, observer, crew)
    except (OSError, RuntimeError, SafetensorError) as error:
        if not is_disk_full(error, inputs.folder):
            raise
        raise DiskFull(f"no space is left in the work folder: {free_bytes(inputs.folder):,} bytes are free") from error


def _prepare() -> None:
    be_deterministic()
    library_log.disable_progress_bar()  # type: ignore[no-untyped-call]
    library_log.set_verbosity_error()  # type: ignore[no-untyped-call]


def distil_classifier(inputs: Inputs, observer: Observer, crew: Crew | None) -> Outcome:
    desk = Desk(inputs.spec, inputs.folder, observer, TeacherCache.of(inputs), crew)
    medium: Medium = Images() if inputs.spec.task == "image-classification" else Texts()

    desk.stage("loading")
    examples = data.read(inputs.dataset, desk.spec.dataset, desk.spec.training.seed, medium.content)
    classroom = gather(desk.spec, inputs.teachers, examples, medium.kind)
    student = _student(inputs, medium, classroom, examples)
    readings = Readings(desk, examples, classroom, student, medium)
    readings.announce()
    _plan(desk, readings, classroom, student)

    desk.stage("teaching")
    classroom = finetune(desk, readings, classroom)
    if inputs.spec.student.from_teacher is not None:
        student = _student(inputs, medium, classroom, examples)
    members = readings.teacher_logits(classroom)

    desk.stage("training")
    start = copy.deepcopy(student.model)
    signal = ensemble(members, desk.weights, desk.spec.T) if members else None
    trained = train(student_phase(desk, readings, classroom, student, signal), observer, desk.journey)
    baseline = _baseline(desk, readings, student, trained)

    desk.stage("evaluating")
    report = assess(desk, readings, classroom, members, (start, trained, baseline))
    desk.journey.move("evaluating", 1.0)

    desk.stage("exporting")
    stop_if_asked(observer)
    curves = {"student": trained.history} | ({"baseline": baseline.history} if baseline else {})
    pages = Pages(
        report_page(inputs.spec, report, curves, inputs.provenance), model_card(inputs.spec, report), inputs.provenance
    )
    folder = export(desk, trained.model, student.reader, report, pages, finetuned_of(desk, classroom.teachers))
    log.info("finished: %s", report.verdict)
    return Outcome(report, folder)


def _student(inputs: Inputs, medium: Medium, classroom: Classroom, examples: Examples) -> Student:
    teacher = classroom.teachers[0] if classroom.teachers else None
    student = medium.student(inputs.spec, inputs.student, teacher, classroom.classes, examples)
    mark_trainable(student, inputs.spec.student)
    return student


def _plan(desk: Desk, readings: Readings, classroom: Classroom, student: Student) -> None:
    """Tell sizes and lay out the way, so that progress has a total from the start."""
    desk.observer.sizes(
        Sizes(
            teacher_parameters=sum(parameter_count(teacher.model) for teacher in classroom.teachers),
            student_parameters=parameter_count(student.model),
            trainable_parameters=trainable_count(desk, readings, student),
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
