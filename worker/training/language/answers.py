"""What is measured with where a data set holds prompts alone: its first teacher's answers to held-out prompts."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields, replace

from core.errors import DatasetUnusable
from core.methods import GenerationSpec
from worker.training.desk import Desk
from worker.training.device import device
from worker.training.generation.samples import Ask, Prompt, Sample
from worker.training.generation.writer import ModelWriter
from worker.training.language.data import Writing, Writings
from worker.training.language.samples import spread
from worker.training.language.twin import Twin
from worker.training.models import Loaded
from worker.training.observer import stop_if_asked
from worker.training.split import Parts
from worker.training.students import required

VALIDATED, MEASURED = 64, 256
"""Prompts of the validation part and of the held-out part that are answered: enough to measure with."""


@dataclass(frozen=True)
class Answered(Writings):
    """Examples of which some have got a completion that the data set has not."""

    answers: Mapping[int, Sample]
    """By the example's number."""

    def __iter__(self) -> Iterator[list[Writing]]:
        number = 0
        for some in super().__iter__():
            yield [self._answered(one, number + place) for place, one in enumerate(some)]
            number += len(some)

    def _answered(self, writing: Writing, number: int) -> Writing:
        if number not in self.answers:
            return writing
        text = self.answers[number].text
        if writing.messages is None:
            return replace(writing, completion=text)
        return replace(writing, messages=(*writing.messages, {"role": "assistant", "content": text}))


def holds_completions(writings: Writings) -> bool:
    return any(one.has_completion() for some in writings for one in some)


def answered(desk: Desk, writings: Writings, teacher: Loaded, spec: GenerationSpec, seed: int) -> Answered:
    """Let a teacher answer held-out prompts; the parts then hold those examples alone that were answered.

    Raises:
        DatasetUnusable: no answer came, or nothing is held out.
        Stopped: the observer asked for it.
    """
    parts = writings.parts
    validation = spread(parts.validation, VALIDATED if len(parts.test) else MEASURED)
    wanted = {*validation.tolist(), *spread(parts.test, MEASURED).tolist()}
    asks = [Ask(prompt, 0) for prompt in _prompts(writings, wanted)]
    desk.observer.event(
        f"The data set has no completions. The teacher answers {len(asks):,} held-out prompts: loss, KL and agreement "
        "are measured on these texts.",
        "warning",
    )
    plain = spec.model_copy(update={"chat": False})
    model = Twin(desk.precision).of(teacher.model.to(device()))  # type: ignore[arg-type]
    writer = ModelWriter(model, required(teacher.tokenizer), plain, seed)
    samples = _written(writer, asks, spec.batch_size, _each_token(desk))
    answers = {sample.prompt: sample for sample in samples if sample.text.strip()}
    kept = Parts(parts.train, *(rows[[row in answers for row in rows]] for rows in (parts.validation, parts.test)))
    if not len(kept.held_out):
        raise DatasetUnusable("the teacher answered no held-out prompt: nothing can be measured")
    given = {field.name: getattr(writings, field.name) for field in fields(Writings)}
    return Answered(**{**given, "parts": kept}, answers=answers)


def _prompts(writings: Writings, wanted: set[int]) -> Iterator[Prompt]:
    number = 0
    for some in writings:
        for one in some:
            if number in wanted:
                yield Prompt(number, one.prompt if one.messages is None else None, one.messages)
            number += 1


def _written(writer: ModelWriter, asks: list[Ask], batch_size: int, each_token: Callable[[], None]) -> Iterator[Sample]:
    ordered = sorted(asks, key=lambda ask: -writer.prompt_tokens(ask.prompt))
    for start in range(0, len(ordered), batch_size):
        yield from writer.write(ordered[start : start + batch_size], each_token)


def _each_token(desk: Desk) -> Callable[[], None]:
    def each_token() -> None:
        stop_if_asked(desk.observer)
        desk.journey.tell()

    return each_token
