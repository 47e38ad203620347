"""The distillation of a language model from start to end."""

import copy
import logging

from core.report import Sizes
from worker.training.crew import Crew
from worker.training.desk import Desk, finetune_settings, weight_of
from worker.training.exchange import Inputs, Outcome
from worker.training.export import Pages, export, finetuned_of
from worker.training.journey import READ_COST, TRAIN_COST
from worker.training.language import data
from worker.training.language.asking import AskingReadings
from worker.training.language.assess import assess_writers
from worker.training.language.course import baseline_phase, finetuned, student_phase, trainable_count, why_no_baseline
from worker.training.language.lectures import Lectures, lectures, voices_of
from worker.training.language.on_policy import asking_readings, own_work, with_own_texts
from worker.training.language.page import writing_card, writing_page
from worker.training.language.readings import WritingReadings
from worker.training.language.samples import SAMPLES, WRITTEN_TEXT
from worker.training.language.students import build_writer
from worker.training.language.teachers import hold_lightly, load_teachers
from worker.training.language.texts.distil import distil_texts
from worker.training.models import Loaded, parameter_count
from worker.training.observer import Observer, stop_if_asked
from worker.training.phase import Trained, steps_of, train
from worker.training.students import Student
from worker.training.teacher_cache import TeacherCache

log = logging.getLogger("distil")


def distil_writer(inputs: Inputs, observer: Observer, crew: Crew | None) -> Outcome:
    """Run a job of task text-generation, or go on with it where an earlier attempt stopped.

    Raises:
        JobFailed: what a user or operator can mend, in words.
        Stopped: the observer asked for it; a training phase has kept a checkpoint.
    """
    if inputs.spec.method.type == "sequence":
        return distil_texts(inputs, observer, crew)
    desk = Desk(inputs.spec, inputs.folder, observer, TeacherCache.of(inputs), crew)
    spec = desk.spec

    desk.stage("loading")
    needs: data.Needs = "either" if spec.method.type == "on_policy" else "completion"
    writings = data.read(inputs.dataset, spec.dataset, spec.training.seed, needs)
    teachers = load_teachers(inputs)
    student = build_writer(spec.student, inputs.student, teachers[0], spec.training.seed)
    hold_lightly(desk, teachers)
    readings = _readings(desk, writings, teachers, student)
    readings.announce()
    _tell_sizes(desk, teachers, student)
    _plan(desk, readings, teachers, student)

    desk.stage("teaching")
    teachers = finetuned(desk, readings, teachers)
    if spec.student.from_teacher is not None and spec.teacher_models[0].finetune is not None:
        student = build_writer(spec.student, inputs.student, teachers[0], spec.training.seed)
    heard = lectures(desk, readings, voices_of(desk, teachers, student.model if readings.mates is None else None))

    desk.stage("training")
    phase = student_phase(desk, readings, student, heard)
    if isinstance(readings, AskingReadings):
        phase = with_own_texts(phase, desk, readings)
    trained = train(phase, observer, desk.journey)
    baseline = _baseline(desk, readings, student, heard, trained)

    desk.stage("evaluating")
    start = Student(copy.deepcopy(student.model), student.tokenizer, student.fresh)
    report = assess_writers(desk, readings, teachers, heard, start, (trained, baseline))
    desk.journey.move("evaluating", 1.0)

    desk.stage("exporting")
    stop_if_asked(observer)
    curves = {"student": trained.history} | ({"baseline": baseline.history} if baseline else {})
    pages = Pages(writing_page(spec, report, curves, inputs.provenance), writing_card(spec, report), inputs.provenance)
    folder = export(desk, trained.model, student.tokenizer, report, pages, finetuned_of(desk, teachers))
    log.info("finished: %s", report.verdict)
    return Outcome(report, folder)


def _readings(desk: Desk, writings: data.Writings, teachers: list[Loaded], student: Student) -> WritingReadings:
    if desk.spec.method.type == "on_policy":
        return asking_readings(desk, writings, teachers, student)
    return WritingReadings(desk, writings, teachers, student)


def _tell_sizes(desk: Desk, teachers: list[Loaded], student: Student) -> None:
    desk.observer.sizes(
        Sizes(
            teacher_parameters=sum(parameter_count(teacher.model) for teacher in teachers),
            student_parameters=parameter_count(student.model),
            trainable_parameters=trainable_count(desk, student),
        )
    )


def _plan(desk: Desk, readings: WritingReadings, teachers: list[Loaded], student: Student) -> None:
    """Lay out the legs of the job with their work, so that progress has a total from the start."""
    settings, examples = desk.spec.training, len(readings.learned)
    every_teacher = sum(weight_of(teacher.model) for teacher in teachers)
    for number, (wanted, teacher) in enumerate(zip(desk.spec.teacher_models, teachers, strict=True)):
        if wanted.finetune is not None:
            steps = steps_of(finetune_settings(desk.spec, number), examples)
            work = TRAIN_COST * weight_of(teacher.model) * steps * settings.step_examples
            desk.journey.plan(f"teacher-{number}", work, steps)
    desk.journey.plan("reading", READ_COST * every_teacher * examples)
    steps = steps_of(settings, examples)
    work = TRAIN_COST * weight_of(student.model) * steps * settings.step_examples
    desk.journey.plan("student", work + own_work(desk, teachers, student.model, steps), steps)
    if why_no_baseline(desk, readings) is None:
        desk.journey.plan("baseline", work, steps)
    held_out = len(readings.parts.held_out) + SAMPLES * WRITTEN_TEXT
    desk.journey.plan("evaluating", READ_COST * (every_teacher + 3 * weight_of(student.model)) * held_out)


def _baseline(
    desk: Desk, readings: WritingReadings, student: Student, heard: Lectures, trained: Trained
) -> Trained | None:
    reason = why_no_baseline(desk, readings)
    if reason is not None:
        desk.observer.event(f"No student on the completions alone is trained to compare with: {reason}.")
        return None
    return train(baseline_phase(desk, readings, student, heard, trained.steps), desk.observer, desk.journey)
