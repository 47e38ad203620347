"""The report: every model of the job measured on the same held-out completions, and what each writes."""

from collections.abc import Callable, Sequence

import numpy as np
from torch import nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from core.report import Alignment, GenerationReport, Sample, WritingExamples, WritingGain, WritingQuality
from worker.training.assess import bytes_of, facts_of, unique_names
from worker.training.desk import Desk
from worker.training.language.alignment import Mates
from worker.training.language.answers import Answered
from worker.training.language.evaluation import Tally, TextsAlone, Yardstick, perplexity, ratio_interval, tallies
from worker.training.language.lectures import Lectures
from worker.training.language.models import vocabulary_of
from worker.training.language.paired import Paired, PairedYardstick, distance
from worker.training.language.readings import WritingReadings
from worker.training.language.samples import SAMPLES, WRITTEN_TEXT, Written, distinct_2, spread, write
from worker.training.language.signal import Present
from worker.training.language.verdict import paired_verdict, writing_verdict
from worker.training.models import Loaded, parameter_count
from worker.training.observer import stop_if_asked
from worker.training.phase import Trained
from worker.training.students import Student, required

MOST_CHARACTERS = 2000


def assess_writers(
    desk: Desk,
    readings: WritingReadings,
    teachers: Sequence[Loaded],
    lectures: Lectures,
    student: Student,
    learned: tuple[Trained, Trained | None],
) -> GenerationReport:
    """Measure teacher, student before and after, and baseline on the same held-out completions."""
    trained, baseline = learned
    models: dict[str, PreTrainedModel] = {"student_before": student.model, "student_after": trained.model}
    if baseline is not None:
        models["baseline"] = baseline.model
    members = unique_names([teacher.model for teacher in desk.spec.teacher_models])
    theirs = dict(zip(members, [teacher.model for teacher in teachers], strict=True))
    measured = (
        _tallies(desk, readings, lectures, {**models, **(_marked(theirs) if len(theirs) > 1 else {})})
        if readings.mates is None
        else _paired_tallies(desk, readings, readings.mates, lectures, models)
    )
    written = {name: _written(desk, readings, model, student.tokenizer) for name, model in models.items()}
    of_teachers = [
        _written(desk, readings, teacher.model, required(teacher.tokenizer), number)
        for number, teacher in enumerate(teachers)
    ]
    own = {name: quality(measured[name], model, written[name]) for name, model in models.items()}
    each = {
        name: quality(measured.get(_mark(name), measured["teacher"]), model, text)
        for (name, model), text in zip(theirs.items(), of_teachers, strict=True)
    }
    teacher = each[members[0]] if len(members) == 1 else _together(each, measured["teacher"])
    before, after, alone = own["student_before"], own["student_after"], own.get("baseline")
    gain = gain_of(measured["student_after"], measured["baseline"], desk.spec.training.seed) if alone else None
    tokenizers = [required(teachers[0].tokenizer), student.tokenizer, student.tokenizer]
    texts = list(zip([of_teachers[0], written["student_before"], written["student_after"]], tokenizers, strict=True))
    return GenerationReport(
        task="text-generation",
        held_out=readings.parts.held_out_name,
        examples=WritingExamples(
            train=len(readings.learned),
            validation=len(readings.parts.validation),
            test=len(readings.parts.test),
            kept_tokens=readings.kept_tokens,
            truncated=readings.cut,
            dropped=readings.dropped,
            in_both=readings.in_both,
        ),
        student=facts_of(trained.model),
        teacher=teacher,
        teachers=each if len(members) > 1 else {},
        student_before=before,
        student_after=after,
        baseline=alone,
        gain=gain,
        alignment=_alignment(readings),
        samples=_samples(readings, student.tokenizer, texts),
        compression=teacher.parameters / after.parameters,
        speedup=after.tokens_per_second / teacher.tokens_per_second if readings.mates is None else None,
        cost=desk.cost(trained.steps),
        verdict=writing_verdict(teacher, after, alone, gain)
        if readings.mates is None
        else paired_verdict(teacher, (before, after, alone), gain),
    )


def _mark(name: str) -> str:
    """Tell a teacher's tally from a student's, whatever the teacher's name is."""
    return f"teacher {name}"


def _marked(theirs: dict[str, PreTrainedModel]) -> dict[str, PreTrainedModel]:
    return {_mark(name): model for name, model in theirs.items()}


def _tallies(
    desk: Desk, readings: WritingReadings, lectures: Lectures, models: dict[str, PreTrainedModel]
) -> dict[str, Tally]:
    rows = readings.parts.held_out
    yardstick = Yardstick(lectures.voices, Present(lectures.voices, readings.teachers))
    scripts = dict.fromkeys(models, readings.student)
    for number, name in enumerate(name for name in models if name.startswith("teacher ")):
        scripts[name] = readings.teachers[number]
    every: dict[str, nn.Module] = dict(models)
    return tallies(every, scripts, rows, yardstick, _pulse(desk, len(rows)), mixture="teacher")


def _paired_tallies(
    desk: Desk, readings: WritingReadings, mates: Mates, lectures: Lectures, models: dict[str, PreTrainedModel]
) -> dict[str, Tally]:
    """Measure students where the teacher's tokens are others; the teacher's own loss is per token of its own."""
    rows, voices = readings.parts.held_out, lectures.voices
    pulse = _pulse(desk, len(rows))
    widest = max(voices.vocabulary, *(vocabulary_of(model) for model in models.values()))
    yardstick = PairedYardstick(Paired(voices, Present(voices, readings.teachers), mates), widest)
    found = tallies(dict(models), dict.fromkeys(models, readings.student), rows, yardstick, pulse)
    alone = TextsAlone(voices.vocabulary, desk.precision)
    teacher, scripts = {"teacher": voices.models[0]}, {"teacher": readings.teachers[0]}
    return found | tallies(teacher, scripts, rows, alone, lambda _: stop_if_asked(desk.observer))


def _alignment(readings: WritingReadings) -> Alignment | None:
    if readings.mates is None or readings.why_incomparable is None:
        return None
    return Alignment(aligned_tokens=readings.mates.met(readings.parts.train), incomparable=readings.why_incomparable)


def _pulse(desk: Desk, total: int) -> Callable[[int], None]:
    done = 0

    def pulse(count: int) -> None:
        nonlocal done
        done += count
        desk.journey.move("evaluating", done / (total + SAMPLES * WRITTEN_TEXT))
        stop_if_asked(desk.observer)

    return pulse


def _written(
    desk: Desk,
    readings: WritingReadings,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    teacher: int | None = None,
) -> Written:
    """Let a model write after the prompts as it reads them: the student's, or those of one of the teachers."""

    def look() -> None:
        stop_if_asked(desk.observer)
        desk.journey.tell()

    scripts = readings.student if teacher is None else readings.teachers[teacher]
    return write(model, tokenizer, scripts, spread(readings.parts.held_out, SAMPLES), desk.precision, look)


def quality(tally: Tally, model: PreTrainedModel, written: Written) -> WritingQuality:
    loss = tally.mean("loss")
    return WritingQuality(
        loss=loss,
        perplexity=perplexity(loss),
        agreement=tally.mean_or_none("agreement"),
        kl_to_teacher=tally.mean_or_none("kl"),
        uld_to_teacher=distance(tally),
        distinct_2=distinct_2(written.tokens),
        parameters=parameter_count(model),
        bytes=bytes_of(model),
        tokens_per_second=written.tokens_per_second,
    )


def _together(each: dict[str, WritingQuality], mixture: Tally) -> WritingQuality:
    """Return the quality of an ensemble: its own loss, its members' sizes, and the time of one after the other."""
    loss = mixture.mean("loss")
    return WritingQuality(
        loss=loss,
        perplexity=perplexity(loss),
        agreement=mixture.mean("agreement"),
        kl_to_teacher=mixture.mean("kl"),
        distinct_2=None,
        parameters=sum(one.parameters for one in each.values()),
        bytes=sum(one.bytes for one in each.values()),
        tokens_per_second=1 / sum(1 / one.tokens_per_second for one in each.values()),
    )


def gain_of(after: Tally, baseline: Tally, seed: int) -> WritingGain:
    """Return what the teacher brought over the completions alone."""

    def difference(measure: str) -> float | None:
        return after.mean(measure) - baseline.mean(measure) if measure in after.sums else None

    has_kl = "kl" in after.sums
    return WritingGain(
        loss=after.mean("loss") - baseline.mean("loss"),
        loss_interval=ratio_interval(after.sums["loss"] - baseline.sums["loss"], after.kept, seed),
        kl_to_teacher=difference("kl"),
        kl_interval=ratio_interval(after.sums["kl"] - baseline.sums["kl"], after.kept, seed) if has_kl else None,
        agreement=difference("agreement"),
    )


Spoken = tuple[Written, PreTrainedTokenizerBase]
"""What a model wrote, and the tokenizer in whose tokens it did."""


def _samples(readings: WritingReadings, tokenizer: PreTrainedTokenizerBase, texts: Sequence[Spoken]) -> list[Sample]:
    def said(tokens: Sequence[int], tokenizer: PreTrainedTokenizerBase = tokenizer) -> str:
        return str(tokenizer.decode(list(tokens), skip_special_tokens=True))[:MOST_CHARACTERS]

    def wrote(whose: int, place: int) -> str:
        written, own_tokenizer = texts[whose]
        return said(written.tokens[place], own_tokenizer)

    is_answered = isinstance(readings.writings, Answered)
    return [
        Sample(
            prompt=said(readings.student.prompt(int(row))[0].tolist()),
            reference=None if is_answered else said(np.asarray(readings.student.targets(int(row))).tolist()),
            teacher=wrote(0, place),
            student_before=wrote(1, place),
            student_after=wrote(2, place),
        )
        for place, row in enumerate(spread(readings.parts.held_out, SAMPLES))
    ]
