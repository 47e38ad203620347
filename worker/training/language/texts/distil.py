"""The distillation of a language model by texts: its teachers write, and what passes the filters is what it learns
(Kim and Rush 2016, arXiv:1606.07947; DeepSeek-R1 2025, arXiv:2501.12948, 2.4)."""

import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from typing import Any

from core.errors import DatasetUnusable
from worker.training.assess import unique_names
from worker.training.crew import Crew
from worker.training.desk import Desk
from worker.training.exchange import Inputs, Outcome
from worker.training.export import Pages, export, finetuned_of
from worker.training.generation.filters import check_filters
from worker.training.generation.samples import Prompt
from worker.training.generation.sequence import Written, check_kept, write_and_filter
from worker.training.language import data
from worker.training.language.lessons import WritingLessons
from worker.training.language.students import build_writer
from worker.training.language.teachers import hold_lightly, load_teachers
from worker.training.language.texts.assess import assess_texts
from worker.training.language.texts.course import baseline_phase, finetuned, listening, student_phase
from worker.training.language.texts.finished import Finished
from worker.training.language.texts.page import texts_card, texts_page
from worker.training.language.texts.plan import plan_legs, plan_trainings, tell_sizes
from worker.training.language.texts.questions import Own, own_completions, questions_of
from worker.training.language.texts.readings import Reader, Scribe, announce, check_room, read_texts, reader_of
from worker.training.language.writers import asks_as_chat, authors_of, check_engine, one_writer
from worker.training.models import Loaded
from worker.training.observer import Observer, stop_if_asked
from worker.training.phase import train
from worker.training.students import Student, required

log = logging.getLogger("distil")


def distil_texts(inputs: Inputs, observer: Observer, crew: Crew | None) -> Outcome:
    """Run a job of method sequence, or go on with it where an earlier attempt stopped.

    Raises:
        JobFailed: what a user or operator can mend, in words.
        Stopped: the observer asked for it; what was written and learned so far is kept.
    """
    desk = Desk(inputs.spec, inputs.folder, observer, crew=crew)
    spec, method = desk.spec, desk.spec.sequence_method

    desk.stage("loading")
    check_filters(method.filters)
    check_engine(desk, inputs)
    writings = data.read(inputs.dataset, spec.dataset, spec.training.seed, "prompt")
    names = _names(desk)
    prompts = questions_of(method, inputs.dataset, writings, names, desk.weights)
    own = own_completions(writings)
    no_baseline = why_no_baseline(desk, own)
    teachers = load_teachers(inputs)
    student = _student(desk, inputs, teachers)
    hold_lightly(desk, teachers)
    readers = _readers(desk, teachers)
    is_chat = any(reader.is_chat for reader in readers) or (not teachers and method.generation.chat is not False)
    check_room(desk, writings, reader_of(student, is_chat))
    own_scribe = Scribe(desk, own.writings, "own")
    tell_sizes(desk, teachers, student)
    plan_legs(desk, teachers, student, prompts, len(own.writings.parts.train), baseline=no_baseline is None)

    desk.stage("teaching")
    teachers = finetuned(
        desk, teachers, [_tuition(desk, own, own_scribe, reader, n) for n, reader in enumerate(readers)]
    )
    if spec.student.from_teacher is not None and spec.teacher_models[0].finetune is not None:
        student = _student(desk, inputs, teachers)
    readers, reader = _readers(desk, teachers), reader_of(student, is_chat)
    texts, engines = _written(desk, inputs, prompts, names, teachers)
    readings = read_texts(desk, texts.kept, reader, readers)
    announce(desk, readings)
    heard = listening(desk, readings, teachers, student)
    plan_trainings(desk, student, len(readings.parts.train), baseline=no_baseline is None)

    desk.stage("training")
    trained = train(student_phase(desk, readings, student, heard), observer, desk.journey)
    baseline = None
    if no_baseline is None:
        lessons = _own_lessons(own, own_scribe, reader)
        phase = baseline_phase(desk, lessons, readings, student, heard, trained.steps)
        baseline = train(phase, observer, desk.journey)
    else:
        observer.event(f"No student of the data set's own completions is trained to compare with: {no_baseline}.")

    desk.stage("evaluating")
    finished = Finished(
        desk, prompts, texts, readings, heard, readers, reader, trained, baseline, no_baseline, own, own_scribe, engines
    )
    report = assess_texts(finished)
    desk.journey.move("evaluating", 1.0)

    desk.stage("exporting")
    stop_if_asked(observer)
    curves = {"student": trained.history} | ({"baseline": baseline.history} if baseline else {})
    pages = Pages(texts_page(spec, report, curves, inputs.provenance), texts_card(spec, report), inputs.provenance)
    tuned, files = finetuned_of(desk, teachers), (texts.texts, texts.kept)
    folder = export(desk, trained.model, student.tokenizer, report, pages, tuned, files)
    log.info("finished: %s", report.verdict)
    return Outcome(report, folder)


def why_no_baseline(desk: Desk, own: Own) -> str | None:
    """Return why there is no baseline, or None where there is one."""
    if not desk.spec.evaluation.baseline:
        return "evaluation.baseline is false"
    if not len(own.writings.parts.train):
        return "the data set has no completions of its own to train on"
    return None


def _names(desk: Desk) -> list[str]:
    """Return what the teachers are called: as the spec says, numbered where several go by one name."""
    if desk.spec.endpoint is not None:
        return [desk.spec.endpoint.model]
    return unique_names([teacher.model for teacher in desk.spec.teacher_models])


def _student(desk: Desk, inputs: Inputs, teachers: Sequence[Loaded]) -> Student:
    return build_writer(desk.spec.student, inputs.student, next(iter(teachers), None), desk.spec.training.seed)


def _readers(desk: Desk, teachers: Sequence[Loaded]) -> list[Reader]:
    """Return the teachers as readers of what they wrote: as they were asked."""
    generation = desk.spec.sequence_method.generation
    return [
        Reader(teacher.model, tokenizer, spec.model, asks_as_chat(generation, tokenizer))
        for teacher, spec in zip(teachers, desk.spec.teacher_models, strict=True)
        for tokenizer in [required(teacher.tokenizer)]
    ]


def _tuition(desk: Desk, own: Own, scribe: Scribe, reader: Reader, number: int) -> WritingLessons | None:
    """Return what a teacher is fine-tuned on before it writes; None where it is not to be."""
    if desk.spec.teacher_models[number].finetune is None:
        return None
    return _own_lessons(own, scribe, reader)


def _own_lessons(own: Own, scribe: Scribe, reader: Reader) -> WritingLessons:
    """Return the data set's own completions to learn from, as a model reads them.

    Raises:
        DatasetUnusable: there are none, or nothing of them is left within max_length.
    """
    rows = own.writings.parts.train
    if len(rows):
        scripts = scribe.scripts(reader)
        rows = rows[scripts.kept(rows) > 0]
    if not len(rows):
        raise DatasetUnusable(f"no training example has a completion of its own that {reader.name} could learn from")
    return WritingLessons(rows, scripts)


def _written(
    desk: Desk, inputs: Inputs, prompts: list[Prompt], names: Sequence[str], teachers: Sequence[Loaded]
) -> tuple[Written, dict[str, str]]:
    """Let the teachers write, and hand what they wrote over before anything else can go wrong.

    Returns:
        What they wrote, and what computed each teacher's texts.

    Raises:
        NothingKept, DatasetUnusable: no text to learn from, or none to measure with.
        EngineUnavailable: the engine that the spec names cannot write with a teacher.
    """
    wanted = len(prompts) * desk.spec.sequence_method.generation.samples_per_prompt
    authors = authors_of(desk, inputs, names, teachers, wanted)
    engines = {author.name: author.engine for author in authors if author.engine is not None}
    texts = write_and_filter(
        desk.spec.sequence_method,
        one_writer(authors),
        prompts,
        desk.folder / "writing",
        desk.observer,
        provenance=provenance_of(desk, inputs, engines),
        move=lambda share: desk.journey.move("writing", share),
        is_chat=any(author.is_chat for author in authors),
    )
    desk.observer.texts(texts.texts, texts.kept)
    check_kept(texts.tally)
    return texts, engines


def provenance_of(desk: Desk, inputs: Inputs, engines: Mapping[str, str]) -> str:
    """Return a digest of what the teachers are when they write: their files, how they were fine-tuned, their engines.

    Two engines round differently: texts that one began are not continued by the other.
    """
    spec = desk.spec
    known: dict[str, Any] = {
        "files": {role: said for role, said in inputs.provenance.items() if role.startswith("teacher")},
        "teachers": [teacher.model_dump(mode="json") for teacher in spec.teacher_models],
        "seed": spec.training.seed,
        "precision": desk.precision,
        "engines": dict(engines),
    }
    if spec.endpoint is not None:
        known |= {"server": [spec.endpoint.base_url, spec.endpoint.model]}
    if any(teacher.finetune is not None for teacher in spec.teacher_models):
        known |= {"training": spec.training.model_dump(mode="json"), "dataset": inputs.provenance.get("dataset")}
    return hashlib.sha256(json.dumps(known, sort_keys=True, default=str).encode()).hexdigest()
