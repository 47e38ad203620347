"""The report of a student that learned from texts."""

from dataclasses import asdict

from core.report import (
    GenerationReport,
    Sample,
    Spent,
    WritingExamples,
    WrittenTexts,
)
from worker.training.assess import facts_of
from worker.training.desk import Desk
from worker.training.endpoint.purse import Purse
from worker.training.generation.keeping import corpus_folder
from worker.training.language.assess import MOST_CHARACTERS, gain_of
from worker.training.language.samples import SAMPLES, spread
from worker.training.language.texts.finished import Finished
from worker.training.language.texts.scores import Scores, teacher_key
from worker.training.language.texts.verdict import texts_verdict
from worker.training.models import parameter_count


def assess_texts(finished: Finished) -> GenerationReport:
    """Measure every model on what the teachers wrote for held-out prompts.

    Such texts are a sample of the teacher's distribution, so that the mean loss on them is the cross-entropy that the
    method minimises, and the mean KL per token its distance in sequences (Kim and Rush 2016, arXiv:1606.07947, 3.2).
    """
    scores, desk, readings = Scores(finished), finished.desk, finished.readings
    each = {name: scores.of(teacher_key(name)) for name in finished.teachers_by_name}
    teacher = next(iter(each.values()), None) if len(each) < 2 else scores.together(each)
    before, after = scores.of("student_before"), scores.of("student_after")
    alone = scores.of("baseline") if finished.baseline is not None else None
    gain = (
        gain_of(scores.tallies["student_after"], scores.tallies["baseline"], desk.spec.training.seed) if alone else None
    )
    texts = texts_of(finished, len(scores.verified))
    size = sum(parameter_count(reader.model) for reader in finished.teachers)
    return GenerationReport(
        task="text-generation",
        held_out=readings.parts.held_out_name,
        examples=WritingExamples(
            train=len(readings.parts.train),
            validation=len(readings.parts.validation),
            test=len(readings.parts.test),
            kept_tokens=readings.kept_tokens,
            truncated=readings.cut,
            dropped=readings.dropped,
            in_both=readings.in_both,
        ),
        student=facts_of(finished.trained.model),
        teacher=teacher,
        teachers=each if len(each) > 1 else {},
        student_before=before,
        student_after=after,
        baseline=alone,
        gain=gain,
        texts=texts,
        samples=_samples(finished, scores),
        compression=size / after.parameters if size else None,
        speedup=after.tokens_per_second / teacher.tokens_per_second if teacher and not texts.incomparable else None,
        cost=desk.cost(finished.trained.steps),
        verdict=texts_verdict(texts, teacher, (before, after, alone), gain),
    )


def texts_of(finished: Finished, verified: int) -> WrittenTexts:
    tally = finished.texts.tally
    return WrittenTexts(
        prompts=len(finished.prompts),
        samples=tally.samples,
        kept=tally.kept,
        dropped=dict(tally.reasons.most_common()),
        tokens=tally.tokens,
        kept_tokens=tally.kept_tokens,
        tokens_per_second=finished.texts.pace.tokens_per_second,
        engines=finished.engines,
        kept_of=dict(tally.teachers),
        verified=verified,
        no_baseline=finished.no_baseline,
        incomparable=finished.readings.why_incomparable,
        spent=spent_of(finished.desk),
    )


def spent_of(desk: Desk) -> Spent | None:
    """Return what the teacher behind an endpoint cost, over all attempts; None where there is no endpoint."""
    if desk.spec.endpoint is None:
        return None
    purse = Purse(desk.spec.endpoint.budget, corpus_folder(desk.folder / "writing"))
    return Spent(**asdict(purse.spent), cost=purse.cost)


def _samples(finished: Finished, scores: Scores) -> list[Sample]:
    """Return what each model writes after the same held-out prompts, side by side."""
    readings, rows = finished.readings, spread(finished.held_out, SAMPLES)
    places = [int(place) for place in readings.prompts[rows]]
    own = finished.own.said(set(places))
    first_teacher = next(map(teacher_key, finished.teachers_by_name), None)

    def said(name: str, number: int) -> str:
        tokens = scores.written[name].tokens[number]
        return str(scores.readers[name].tokenizer.decode(tokens, skip_special_tokens=True))[:MOST_CHARACTERS]

    asked = finished.student.tokenizer

    def sent(row: int) -> str:
        """Return what a teacher wrote that cannot be asked again: the text itself."""
        return str(asked.decode(readings.student.targets(row), skip_special_tokens=True))[:MOST_CHARACTERS]

    return [
        Sample(
            prompt=str(asked.decode(readings.student.prompt(int(row))[0], skip_special_tokens=True))[:MOST_CHARACTERS],
            reference=own[place][:MOST_CHARACTERS] if place in own else None,
            teacher=said(first_teacher, number) if first_teacher is not None else sent(int(row)),
            student_before=said("student_before", number),
            student_after=said("student_after", number),
        )
        for number, (row, place) in enumerate(zip(rows, places, strict=True))
    ]
